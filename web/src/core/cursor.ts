/**
 * Whether cursor `a` is at or after `b`; false across epochs and where either is unknown. The only
 * function that looks inside a cursor (`<epoch>.<revision>.<tag>`).
 */
export function reaches(a: string | null, b: string | null): boolean {
  const [epoch, revision] = (a ?? '').split('.');
  const [other, least] = (b ?? '').split('.');
  return epoch === other && Number(revision) >= Number(least);
}
