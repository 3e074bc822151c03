import type { Lifecycle, LifecycleEvent } from '../core/types.ts';

/** The only part of the core that listens to `document` and `window`. */
export function pageLifecycle(): Lifecycle {
  const listeners = new Set<(event: LifecycleEvent) => void>();
  const emit = (event: LifecycleEvent) => {
    for (const listener of [...listeners]) listener(event);
  };
  const isVisible = () => typeof document === 'undefined' || document.visibilityState === 'visible';
  const onVisibility = () => emit(isVisible() ? 'visible' : 'hidden');
  const onOnline = () => emit('online');
  // Not `unload`: it would keep the page out of the back/forward cache.
  const onLeave = () => emit('leave');
  const onReturn = (event: PageTransitionEvent) => event.persisted && emit('return');

  return {
    isVisible,
    subscribe(listener) {
      if (typeof window !== 'undefined' && listeners.size === 0) {
        document.addEventListener('visibilitychange', onVisibility);
        window.addEventListener('online', onOnline);
        window.addEventListener('pagehide', onLeave);
        window.addEventListener('pageshow', onReturn);
      }
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
        if (typeof window === 'undefined' || listeners.size > 0) return;
        document.removeEventListener('visibilitychange', onVisibility);
        window.removeEventListener('online', onOnline);
        window.removeEventListener('pagehide', onLeave);
        window.removeEventListener('pageshow', onReturn);
      };
    },
  };
}
