/** A place in the server's sequence of revisions. Places of different epochs cannot be compared. */
export interface Position {
  readonly epoch: string;
  readonly revision: number;
}

/** The only function that looks inside a cursor (`<epoch>.<revision>.<tag>`). */
export function position(cursor: string | null): Position | null {
  const [epoch, revision] = (cursor ?? '').split('.');
  return epoch && /^\d{1,16}$/.test(revision ?? '') ? { epoch, revision: Number(revision) } : null;
}

/** Whether `a` is at or after `b`; false across epochs and where either is unknown. */
export const reaches = (a: Position | null, b: Position | null): boolean =>
  a?.epoch === b?.epoch && a !== null && b !== null && a.revision >= b.revision;
