const LONGEST_TIMER_MS = 2 ** 31 - 1;

interface Timer {
  left: number;
  since: number;
  handle: ReturnType<typeof setTimeout> | undefined;
  readonly fire: () => void;
}

/** Timers that all stand still while there is a reason to wait. */
export class PausableTimers {
  readonly #timers = new Map<string, Timer>();
  readonly #reasons = new Set<string>();

  /** Starts or restarts; `ms` Infinity never fires. */
  set(id: string, ms: number, fire: () => void): void {
    this.clear(id);
    if (!Number.isFinite(ms)) return;
    const timer: Timer = {
      left: Math.min(ms, LONGEST_TIMER_MS),
      since: 0,
      handle: undefined,
      fire,
    };
    this.#timers.set(id, timer);
    if (this.#reasons.size === 0) this.#run(id, timer);
  }

  clear(id: string): void {
    clearTimeout(this.#timers.get(id)?.handle);
    this.#timers.delete(id);
  }

  hold(reason: string, held: boolean): void {
    const before = this.#reasons.size;
    if (held) this.#reasons.add(reason);
    else this.#reasons.delete(reason);
    const after = this.#reasons.size;
    if (!before && after) {
      for (const timer of this.#timers.values()) {
        clearTimeout(timer.handle);
        timer.left -= performance.now() - timer.since;
      }
    } else if (before && !after) {
      for (const [id, timer] of this.#timers) this.#run(id, timer);
    }
  }

  destroy(): void {
    for (const id of [...this.#timers.keys()]) this.clear(id);
  }

  #run(id: string, timer: Timer): void {
    timer.since = performance.now();
    timer.handle = setTimeout(
      () => {
        this.#timers.delete(id);
        timer.fire();
      },
      Math.max(0, timer.left),
    );
  }
}
