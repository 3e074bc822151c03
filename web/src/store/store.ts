import type { ReadableStore, Unsubscribe } from '../core/types.ts';

/** How late a change may be told where frames do not come, as in a hidden or covered page. */
const LATEST_MS = 100;

/** Collects work and runs it once per frame, so that a replay of thousands costs one rendering. */
export class Frame {
  readonly #tasks = new Set<() => void>();
  #scheduled = false;

  add(task: () => void): void {
    this.#tasks.add(task);
    if (this.#scheduled) return;
    this.#scheduled = true;
    const timer = setTimeout(() => this.flush(), LATEST_MS);
    requestAnimationFrame(() => {
      clearTimeout(timer);
      this.flush();
    });
  }

  flush(): void {
    if (!this.#scheduled) return;
    this.#scheduled = false;
    const tasks = [...this.#tasks];
    this.#tasks.clear();
    for (const task of tasks) task();
  }
}

/** A value computed on demand and told about once per frame. */
export class Store<T> implements ReadableStore<T> {
  readonly #compute: () => T;
  readonly #frame: Frame;
  readonly #listeners = new Set<() => void>();
  #value: { readonly of: T } | null = null;

  constructor(frame: Frame, compute: () => T) {
    this.#frame = frame;
    this.#compute = compute;
  }

  // Arrow functions: callers pass them on without their object.
  getSnapshot = (): T => {
    this.#value ??= { of: this.#compute() };
    return this.#value.of;
  };

  subscribe = (onChange: () => void): Unsubscribe => {
    // A wrapper, so that the same function subscribed twice is two subscriptions.
    const listener = () => onChange();
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  invalidate(): void {
    this.#value = null;
    this.#frame.add(this.#tell);
  }

  readonly #tell = (): void => {
    for (const listener of [...this.#listeners]) listener();
  };
}
