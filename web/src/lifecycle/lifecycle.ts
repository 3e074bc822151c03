import type { Lifecycle, LifecycleEvent } from '../core/types.ts';

const isVisible = () => document.visibilityState === 'visible';

/** What an event of the window means for the client; without a meaning of its own: look whether we are seen. */
const MEANING: Readonly<Record<string, LifecycleEvent | undefined>> = {
  visibilitychange: undefined,
  // Also back from the back/forward cache.
  pageshow: undefined,
  online: 'online',
  // Not `unload`: it would keep the page out of that cache.
  pagehide: 'leave',
};

/** The only part of the core that listens to the page. */
export const pageLifecycle: Lifecycle = {
  isVisible,
  subscribe(listener) {
    const leave = new AbortController();
    // On its way down: not everywhere does an event of the document come back up to the window.
    const how = { capture: true, signal: leave.signal };
    const hear = ({ type }: Event) =>
      listener(MEANING[type] ?? (isVisible() ? 'visible' : 'hidden'));
    for (const type in MEANING) addEventListener(type, hear, how);
    return () => leave.abort();
  },
};
