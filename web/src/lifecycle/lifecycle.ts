import type { Lifecycle, LifecycleEvent } from '../core/types.ts';

/** The only part of the core that listens to `document` and `window`. */
export function pageLifecycle(): Lifecycle {
  const listeners = new Set<(event: LifecycleEvent) => void>();
  const emit = (event: LifecycleEvent) => {
    for (const listener of [...listeners]) listener(event);
  };
  const isVisible = () => document.visibilityState === 'visible';
  const heard: readonly (readonly [EventTarget | undefined, string, (event: Event) => void])[] = [
    [globalThis.document, 'visibilitychange', () => emit(isVisible() ? 'visible' : 'hidden')],
    [globalThis.window, 'online', () => emit('online')],
    // Not `unload`: it would keep the page out of the back/forward cache.
    [globalThis.window, 'pagehide', () => emit('leave')],
    [globalThis.window, 'pageshow', (e) => (e as PageTransitionEvent).persisted && emit('return')],
  ];

  return {
    isVisible,
    subscribe(listener) {
      if (!listeners.size) for (const [on, type, hear] of heard) on?.addEventListener(type, hear);
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
        if (!listeners.size)
          for (const [on, type, hear] of heard) on?.removeEventListener(type, hear);
      };
    },
  };
}
