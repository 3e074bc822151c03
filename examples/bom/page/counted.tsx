import { useEffect, useRef, useState } from 'react';

const MS = 250;

/** A number that counts to where it is now, quietly. */
export function Counted({ value }: { readonly value: number }) {
  const [before, show] = useState(value);
  // Back to the beginning is another run, which was never anywhere else.
  const shown = Math.min(before, value);
  const from = useRef(value);
  from.current = shown;
  useEffect(() => {
    const start = from.current;
    if (start === value || matchMedia('(prefers-reduced-motion: reduce)').matches) {
      show(value);
      return;
    }
    const began = performance.now();
    let frame = requestAnimationFrame(function tick(now) {
      const done = Math.min(1, Math.max(0, now - began) / MS);
      show(Math.round(start + (value - start) * done));
      if (done < 1) frame = requestAnimationFrame(tick);
    });
    return () => cancelAnimationFrame(frame);
  }, [value]);
  return <>{shown.toLocaleString('en')}</>;
}
