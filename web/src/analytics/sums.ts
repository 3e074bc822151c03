/** Upper ends of what is counted together, in seconds: the hub has the same. What is later was not late, but away. */
const BOUNDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 3600];

const nothing = () => ({
  reconnections: {} as Record<string, number>,
  transports: {} as Record<string, number>,
  actions: {} as Record<string, number>,
  delays: BOUNDS.map(() => 0),
  delay_seconds: 0,
});

/** What one tab has counted since its last report: how often, never what or whose. */
export function createSums() {
  let sums = nothing();
  let empty = true;
  return {
    count(what: 'reconnections' | 'transports' | 'actions', name: string): void {
      sums[what][name] = (sums[what][name] ?? 0) + 1;
      empty = false;
    },
    delay(seconds: number): void {
      const bucket = BOUNDS.findIndex((bound) => seconds <= bound);
      if (bucket < 0) return;
      sums.delays[bucket] = (sums.delays[bucket] as number) + 1;
      sums.delay_seconds += seconds;
      empty = false;
    },
    /** All of it, if there is anything, or anything is `wanted`; what follows is the next report's. */
    take(wanted: boolean): string | undefined {
      if (empty && !wanted) return undefined;
      const body = JSON.stringify(sums);
      sums = nothing();
      empty = true;
      return body;
    },
  };
}
