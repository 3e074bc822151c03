import { useLayoutEffect, useRef, useState } from 'react';

const MS = 250;
const written = (value: number) => value.toLocaleString('en');

/**
 * A number that counts to where it is now, quietly. It writes itself: as state of React's, a frame could be drawn later
 * than what came after it, and show a number of the run before.
 */
export function Counted({ value }: { readonly value: number }) {
  const [first] = useState(() => written(value));
  const place = useRef<HTMLSpanElement>(null);
  const shown = useRef(value);
  useLayoutEffect(() => {
    const start = shown.current;
    const show = (now: number) => {
      shown.current = now;
      if (place.current) place.current.textContent = written(now);
    };
    // Back to the beginning is another run, which was never anywhere else.
    if (start >= value || matchMedia('(prefers-reduced-motion: reduce)').matches) {
      show(value);
      return;
    }
    const began = performance.now();
    let frame = requestAnimationFrame(function tick(time) {
      const done = Math.min(1, Math.max(0, time - began) / MS);
      show(Math.round(start + (value - start) * done));
      if (done < 1) frame = requestAnimationFrame(tick);
    });
    return () => cancelAnimationFrame(frame);
  }, [value]);
  return <span ref={place}>{first}</span>;
}
