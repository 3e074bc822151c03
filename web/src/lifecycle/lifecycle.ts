import type { Lifecycle, LifecycleEvent } from '../core/types.ts';

const isVisible = () => document.visibilityState === 'visible';

/** What an event of the window means for the client; undefined: nothing. */
const MEANING: Readonly<Record<string, (event: Event) => LifecycleEvent | undefined>> = {
  visibilitychange: () => (isVisible() ? 'visible' : 'hidden'),
  online: () => 'online',
  // Not `unload`: it would keep the page out of the back/forward cache.
  pagehide: () => 'leave',
  pageshow: (event) => ((event as PageTransitionEvent).persisted ? 'return' : undefined),
};

/** The only part of the core that listens to the page. */
export const pageLifecycle: Lifecycle = {
  isVisible,
  subscribe(listener) {
    const leave = new AbortController();
    // On its way down: not everywhere does an event of the document come back up to the window.
    const how = { capture: true, signal: leave.signal };
    for (const [type, meaning] of Object.entries(MEANING))
      addEventListener(
        type,
        (event) => {
          const said = meaning(event);
          if (said) listener(said);
        },
        how,
      );
    return () => leave.abort();
  },
};
