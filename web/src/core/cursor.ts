/** A place in the server's sequence of revisions. Places of different epochs cannot be compared. */
export interface Position {
  readonly epoch: string;
  readonly revision: number;
}

/** The only function that looks inside a cursor (`<epoch>.<revision>.<tag>`). */
export function position(cursor: unknown): Position | null {
  if (typeof cursor !== 'string') return null;
  const [epoch, revision] = cursor.split('.');
  const number = revision && /^\d{1,16}$/.test(revision) ? Number(revision) : Number.NaN;
  return epoch && number >= 0 ? { epoch, revision: number } : null;
}

/** Whether `a` is at or after `b`; false across epochs and where `a` is unknown. */
export const reaches = (a: Position | null, b: Position | null): boolean =>
  a !== null && (b === null || (a.epoch === b.epoch && a.revision >= b.revision));
