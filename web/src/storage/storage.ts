import type { JobSnapshot, StorageLike, ToastMemory } from '../core/types.ts';
import { fields } from '../core/wire.ts';
import { ended } from '../store/jobs.ts';

/**
 * What survives a reload: the cursor, the tracked jobs and which toasts were shown. Ids and numbers
 * only: no title, no message, no URL. Nothing here ever throws: a browser may forbid storage, fill it,
 * clear it or let another page write rubbish into it, and the client then only remembers less.
 */
const PREFIX = 'milepost:1:';
const MINUTE = 60_000;
const JOB_TTL = 15 * MINUTE;
const SETTLED_TTL = MINUTE;
const SHOWN_TTL = 15 * MINUTE;
const CURSOR_TTL = 24 * 60 * MINUTE;
const RUNG_TTL = 10 * MINUTE;
const MAX_JOBS = 50;
const MAX_SHOWN = 100;
/** A clock that was set back makes entries of the future; they count as expired. */
const SKEW = MINUTE;

export interface StoredJob {
  readonly state: JobSnapshot['state'];
  readonly attempt: number;
  readonly rev: number;
  readonly current: number;
  readonly total: number | null;
  readonly at: number;
}

export function memoryStorage(): StorageLike {
  const map = new Map<string, string>();
  return {
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => void map.set(key, value),
    removeItem: (key) => void map.delete(key),
  };
}

/** The browser's storage where it works, else memory. Merely touching it can throw. */
function probe(pick: () => StorageLike): StorageLike {
  try {
    const storage = pick();
    const key = `${PREFIX}probe`;
    storage.setItem(key, '1');
    storage.removeItem(key);
    return storage;
  } catch {
    return memoryStorage();
  }
}

export class Vault implements ToastMemory {
  readonly #local: StorageLike;
  readonly #session: StorageLike;
  readonly #scope: string;
  readonly #now: () => number;
  readonly #forgetJob: (id: string) => void;

  constructor(options: {
    readonly storage: StorageLike | 'memory' | undefined;
    readonly userKey: string;
    readonly now: () => number;
    readonly release: (jobId: string) => void;
  }) {
    const { storage } = options;
    this.#local =
      storage === 'memory' ? memoryStorage() : (storage ?? probe(() => globalThis.localStorage));
    this.#session = storage === undefined ? probe(() => globalThis.sessionStorage) : this.#local;
    this.#scope = `${PREFIX}${encodeURIComponent(options.userKey)}:`;
    this.#now = options.now;
    this.#forgetJob = options.release;
  }

  #read(storage: StorageLike, name: string): Readonly<Record<string, unknown>> {
    try {
      return fields(JSON.parse(storage.getItem(this.#scope + name) ?? 'null'));
    } catch {
      return {};
    }
  }

  #write(storage: StorageLike, name: string, value: unknown): void {
    try {
      if (value === null) storage.removeItem(this.#scope + name);
      else storage.setItem(this.#scope + name, JSON.stringify(value));
    } catch {
      // Full or forbidden: what is on screen does not depend on it.
    }
  }

  #fresh(at: unknown, ttl: number): boolean {
    const age = this.#now() - Number(at);
    return age <= ttl && age >= -SKEW;
  }

  get cursor(): string | null {
    const { c, at } = this.#read(this.#local, 'cursor');
    return typeof c === 'string' && this.#fresh(at, CURSOR_TTL) ? c : null;
  }

  set cursor(cursor: string | null) {
    this.#write(this.#local, 'cursor', cursor && { c: cursor, at: this.#now() });
  }

  /** Tracked jobs; `expired` ones are shown only after the server has said that they still run. */
  jobs(): [string, StoredJob & { readonly expired: boolean }][] {
    return Object.entries(this.#read(this.#local, 'jobs')).flatMap(([id, value]) => {
      const job = fields(value) as unknown as StoredJob;
      const settled = ended(job);
      const fresh = this.#fresh(job.at, settled ? SETTLED_TTL : JOB_TTL);
      if ((settled && !fresh) || typeof job.current !== 'number') return [];
      return [[id, { ...job, expired: !fresh }]];
    });
  }

  /** Adds or replaces (`null`: removes) jobs among those that other tabs wrote. */
  saveJobs(changed: ReadonlyMap<string, StoredJob | null>): void {
    const entries = new Map<string, StoredJob>(this.jobs());
    for (const [id, job] of changed) {
      entries.delete(id);
      if (job) entries.set(id, job);
    }
    const kept = [...entries].slice(-MAX_JOBS);
    this.#write(this.#local, 'jobs', kept.length ? Object.fromEntries(kept) : null);
  }

  #shown(): Map<string, unknown> {
    const entries = Object.entries(this.#read(this.#local, 'shown'));
    return new Map(entries.filter(([, at]) => this.#fresh(at, SHOWN_TTL)));
  }

  has(id: string): boolean {
    return this.#shown().has(id);
  }

  claim(id: string): boolean {
    const shown = this.#shown();
    if (shown.has(id)) return false;
    shown.set(id, this.#now());
    this.#write(this.#local, 'shown', Object.fromEntries([...shown].slice(-MAX_SHOWN)));
    return true;
  }

  open(): readonly string[] {
    const { ids } = this.#read(this.#session, 'open');
    return Array.isArray(ids) ? ids.map(String) : [];
  }

  setOpen(ids: readonly string[]): void {
    this.#write(this.#session, 'open', ids.length ? { ids } : null);
  }

  release(jobId: string): void {
    this.#forgetJob(jobId);
  }

  get rung(): number {
    const { r, at } = this.#read(this.#session, 'rung');
    return (this.#fresh(at, RUNG_TTL) && Number(r)) || 0;
  }

  set rung(rung: number) {
    this.#write(this.#session, 'rung', rung ? { r: rung, at: this.#now() } : null);
  }

  forget(): void {
    for (const name of ['cursor', 'jobs', 'shown']) this.#write(this.#local, name, null);
    for (const name of ['open', 'rung']) this.#write(this.#session, name, null);
  }
}
