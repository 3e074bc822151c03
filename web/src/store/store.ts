import type { ReadableStore } from '../core/types.ts';

/** How late a change may be told where frames do not come, as in a hidden or covered page. */
const LATEST_MS = 100;

const tasks = new Set<() => void>();

/** Runs a task once per frame, however often it is asked for: a replay of thousands costs one rendering. */
export function onFrame(task: () => void): void {
  if (!tasks.size) {
    const timer = setTimeout(flush, LATEST_MS);
    requestAnimationFrame(() => {
      clearTimeout(timer);
      flush();
    });
  }
  tasks.add(task);
}

export function flush(): void {
  const due = [...tasks];
  tasks.clear();
  for (const task of due) task();
}

export interface Store<T> extends ReadableStore<T> {
  invalidate(): void;
}

/** A value computed on demand and told about once per frame. */
export function createStore<T extends object>(compute: () => T): Store<T> {
  const listeners = new Set<() => void>();
  let value: T | undefined;
  const tell = () => {
    for (const listener of [...listeners]) listener();
  };
  return {
    getSnapshot: () => {
      value ??= compute();
      return value;
    },
    subscribe(onChange) {
      // A wrapper, so that the same function subscribed twice is two subscriptions.
      const listener = () => onChange();
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    invalidate() {
      value = undefined;
      onFrame(tell);
    },
  };
}
