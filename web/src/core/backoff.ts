/** The longest wait that a server can ask for. */
export const MAX_RETRY_AFTER_MS = 300_000;

/**
 * The delay before attempt `attempt` (0 is the first repetition), in milliseconds: its step of the list,
 * shortened by at most `jitter` (0.3: to 70 % at least), but never shorter than `floor`.
 */
export function backoff(
  steps: readonly number[],
  attempt: number,
  jitter: number,
  roll: number,
  floor = 0,
): number {
  const step = steps[Math.min(attempt, steps.length - 1)] ?? 0;
  return Math.max(Math.min(floor, MAX_RETRY_AFTER_MS), step * (1 - jitter * roll));
}

/** `Retry-After` in milliseconds: seconds or a date; undefined when it is no time to wait. */
export function retryAfter(header: string | null, now: number): number | undefined {
  const ms = Number(header) * 1000 || Date.parse(header ?? '') - now;
  return ms > 0 ? ms : undefined;
}
