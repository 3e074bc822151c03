// Numbers as people say them.

export const counted = (count: number, word: string) =>
  `${count.toLocaleString('en')} ${word}${count === 1 ? '' : 's'}`;

/** A forecast, no more exact than it can be. */
export function left(seconds: number): string {
  if (seconds >= 90) return `about ${Math.round(seconds / 60)} min left`;
  return seconds >= 10 ? `about ${Math.round(seconds / 5) * 5} s left` : 'a few seconds left';
}

export const euros = (amount: string) => `€ ${amount}`;
