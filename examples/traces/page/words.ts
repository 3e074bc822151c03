// Numbers and times as people read them. A unit stays on the line of its number.

const NBSP = '\u00a0';

export const count = (value: number) => value.toLocaleString('en');

export const counted = (value: number, word: string) =>
  `${count(value)} ${word}${value === 1 ? '' : 's'}`;

export function duration(ms: number): string {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)}${NBSP}s`;
  if (ms >= 1_000) return `${(ms / 1000).toFixed(2)}${NBSP}s`;
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2)}${NBSP}ms`;
}

export const left = (seconds: number) =>
  seconds < 90
    ? `about ${Math.max(1, Math.ceil(seconds))} s left`
    : `about ${Math.ceil(seconds / 60)} min left`;

export function size(bytes: number): string {
  if (bytes < 1024) return counted(bytes, 'byte');
  return bytes < 1024 ** 2
    ? `${Math.round(bytes / 1024)} KiB`
    : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

export const clock = (ms: number) =>
  new Date(ms).toLocaleTimeString('en', { hour12: false, timeStyle: 'medium' });

export function when(ms: number): string {
  const time = new Date(ms);
  const today = time.toDateString() === new Date().toDateString();
  return time.toLocaleString('en', {
    hour12: false,
    timeStyle: 'short',
    ...(today ? {} : { dateStyle: 'medium' }),
  });
}

/** From one moment to another, with the day once. */
export function range(from: number, to: number): string {
  const day = (ms: number) => new Date(ms).toLocaleDateString('en', { dateStyle: 'medium' });
  return day(from) === day(to)
    ? `${day(from)}, ${clock(from)} to ${clock(to)}`
    : `${day(from)}, ${clock(from)} to ${day(to)}, ${clock(to)}`;
}
