import type { Gone } from '../core/types.ts';
import { isGone } from '../core/wire.ts';

/** Revisions of documents that are gone, kept so that an older copy cannot bring one back. */
const MAX_GONE = 1000;

/**
 * The newest revision of each document. The order in which copies arrive, and how often, makes no
 * difference: `rev` alone decides.
 */
export class Versions<T extends { readonly id: string; readonly rev: number }> {
  readonly docs = new Map<string, T>();
  readonly #gone = new Map<string, number>();
  /** While everything is being read again: the ids that have come so far. */
  #seen: Set<string> | null = null;

  /** Whether it changed anything. */
  put(doc: T | Gone): boolean {
    const { id, rev } = doc;
    // After a reset revisions start over: what is on screen stays there, but anything replaces it.
    const outdated = this.#seen !== null && !this.#seen.has(id);
    const known = outdated ? undefined : (this.docs.get(id)?.rev ?? this.#gone.get(id));
    this.#seen?.add(id);
    if (known !== undefined && rev <= known) return false;
    if (isGone(doc)) {
      this.#gone.delete(id);
      this.#gone.set(id, rev);
      for (const oldest of this.#gone.keys()) {
        if (this.#gone.size <= MAX_GONE) break;
        this.#gone.delete(oldest);
      }
      return this.docs.delete(id);
    }
    this.#gone.delete(id);
    this.docs.set(id, doc);
    return true;
  }

  /** The server reads out everything again, and revisions may have started over. */
  reset(): void {
    this.#seen = new Set();
    this.#gone.clear();
  }

  /** It has: what did not come is not there any more. Returns those ids. */
  settle(): string[] {
    const seen = this.#seen;
    this.#seen = null;
    if (!seen) return [];
    const absent = [...this.docs.keys()].filter((id) => !seen.has(id));
    for (const id of absent) this.docs.delete(id);
    return absent;
  }
}
