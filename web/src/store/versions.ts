import type { Gone } from '../core/types.ts';
import { isGone } from '../core/wire.ts';

/** Revisions of documents that are gone, kept so that an older copy cannot bring one back. */
const MAX_GONE = 1000;

export interface Versions<T> {
  readonly docs: Map<string, T>;
  /** The answer, or null where everything was read again meanwhile: its revisions say nothing any more. */
  still<A>(answer: Promise<A>): Promise<A | null>;
  /** Whether it changed anything. */
  put(doc: T | Gone): boolean;
  /** The server reads out everything again, and revisions may have started over. */
  reset(): void;
  /** It has: what did not come is not there any more. Returns those ids. */
  settle(): string[];
}

/**
 * The newest revision of each document. The order in which copies arrive, and how often, makes no
 * difference: `rev` alone decides.
 */
export function createVersions<
  T extends { readonly id: string; readonly rev: number },
>(): Versions<T> {
  const docs = new Map<string, T>();
  const gone = new Map<string, number>();
  /** After a reset, what is on screen stays there, but anything replaces it. */
  const outdated = new Set<string>();
  let round = 0;

  return {
    docs,
    async still(answer) {
      const before = round;
      const value = await answer;
      return before === round ? value : null;
    },
    put(doc) {
      const { id, rev } = doc;
      const known = outdated.delete(id) ? -1 : (docs.get(id)?.rev ?? gone.get(id) ?? -1);
      if (rev <= known) return false;
      if (isGone(doc)) {
        gone.set(id, rev);
        const [oldest] = gone.keys();
        if (oldest && gone.size > MAX_GONE) gone.delete(oldest);
        return docs.delete(id);
      }
      gone.delete(id);
      docs.set(id, doc);
      return true;
    },
    reset() {
      round += 1;
      for (const id of docs.keys()) outdated.add(id);
      gone.clear();
    },
    settle() {
      const absent = [...outdated];
      outdated.clear();
      for (const id of absent) docs.delete(id);
      return absent;
    },
  };
}
