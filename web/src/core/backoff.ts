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
  return Math.max(Math.min(floor, MAX_RETRY_AFTER_MS), Math.round(step * (1 - jitter * roll)));
}

/** `Retry-After` in milliseconds: seconds or a date; undefined when absent or unreadable. */
export function retryAfter(header: string | null, now: number): number | undefined {
  if (!header) return undefined;
  const seconds = Number.isNaN(Number(header)) ? (Date.parse(header) - now) / 1000 : Number(header);
  return Number.isNaN(seconds) ? undefined : Math.max(seconds * 1000, 0);
}
