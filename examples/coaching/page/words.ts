/** What stands in the page, and how figures are said. */

export interface Coach {
  readonly id: string;
  readonly name: string;
  readonly role: string;
}

interface Known {
  readonly coaches: readonly Coach[];
  readonly paces: readonly number[];
  readonly samples: readonly string[];
}

export const root = document.querySelector<HTMLElement>('#root') as HTMLElement;
export const KNOWN: Known = JSON.parse(root.dataset.known ?? '');

export function coachOf(id: string): Coach {
  return KNOWN.coaches.find((coach) => coach.id === id) ?? { id, name: id, role: '' };
}

export const firstName = (id: string): string => coachOf(id).name.split(' ')[0] ?? id;

export function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

export const number = (value: number, digits = 1): string =>
  value.toFixed(digits).replace('-', '−');

export function when(time: number | string): string {
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(
    [],
    today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' },
  );
}
