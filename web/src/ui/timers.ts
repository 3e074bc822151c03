/** What a browser can wait for, 24 days: with more, setTimeout would fire at once. */
const LONGEST_MS = 2 ** 31 - 1;

interface Timer {
  left: number;
  since: number;
  handle?: ReturnType<typeof setTimeout>;
  readonly fire: () => void;
}

export interface PausableTimers {
  /** Starts or restarts; a longer time than a browser can wait for, as Infinity, never ends. */
  set(id: string, ms: number, fire: () => void): void;
  clear(id: string): void;
  hold(reason: string, held: boolean): void;
}

/** Timers that all stand still while there is a reason to wait. */
export function pausableTimers(): PausableTimers {
  const timers = new Map<string, Timer>();
  const reasons = new Set<string>();

  function clear(id: string): void {
    clearTimeout(timers.get(id)?.handle);
    timers.delete(id);
  }

  function run(id: string, timer: Timer): void {
    timer.since = performance.now();
    timer.handle = setTimeout(() => {
      clear(id);
      timer.fire();
    }, timer.left);
  }

  return {
    clear,
    set(id, left, fire) {
      clear(id);
      if (left > LONGEST_MS) return;
      const timer = { left, since: 0, fire };
      timers.set(id, timer);
      if (!reasons.size) run(id, timer);
    },
    hold(reason, held) {
      const before = reasons.size;
      if (held) reasons.add(reason);
      else reasons.delete(reason);
      if (!before === !reasons.size) return;
      for (const [id, timer] of timers)
        if (before) run(id, timer);
        else {
          clearTimeout(timer.handle);
          timer.left -= performance.now() - timer.since;
        }
    },
  };
}
