import type { JobSnapshot, StorageLike, ToastMemory } from '../core/types.ts';
import { fields, number, parseJson, text } from '../core/wire.ts';
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
  readonly percent: number | null;
  readonly at: number;
}

export interface RestoredJob extends StoredJob {
  expired: boolean;
}

export function memoryStorage(): StorageLike {
  const map = new Map<string, string>();
  return {
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => void map.set(key, value),
    removeItem: (key) => void map.delete(key),
  };
}

export interface Vault extends ToastMemory {
  cursor: string | null;
  /** The rung of the ladder on which the next page of this tab starts. */
  rung: number;
  /** Tracked jobs; `expired` ones are shown only after the server has said that they still run. */
  jobs(): [string, RestoredJob][];
  /** Adds or replaces (`null`: removes) jobs among those that other tabs wrote. */
  saveJobs(changed: ReadonlyMap<string, StoredJob | null>): void;
  /** Wipes all of it, and remembers nothing more. The other tabs of this user are told. */
  forget(): void;
  /** Calls back when another tab has forgotten this user; then this one has too. */
  onForget(told: () => void, signal: AbortSignal): void;
}

export function createVault(
  storage: StorageLike | 'memory' | undefined,
  userKey: string,
  release: ToastMemory['release'],
  /** Whether this tab is, where others may claim the same at the same moment. */
  first: ToastMemory['claim'],
): Vault {
  const given = storage === 'memory' ? memoryStorage() : storage;
  /** The browser's, or memory where merely touching that throws. */
  const pick = (name: 'localStorage' | 'sessionStorage') => {
    try {
      return given ?? globalThis[name];
    } catch {
      return memoryStorage();
    }
  };
  let local = pick('localStorage');
  let session = pick('sessionStorage');
  const scope = `${PREFIX}${encodeURIComponent(userKey)}:`;

  const read = (from: StorageLike, name: string) => parseJson(() => from.getItem(scope + name));
  function write(to: StorageLike, name: string, value: unknown): void {
    try {
      if (value) to.setItem(scope + name, JSON.stringify(value));
      else to.removeItem(scope + name);
    } catch {
      // Full or forbidden: what is on screen does not depend on it.
    }
  }

  function fresh(at: unknown, ttl: number): boolean {
    const age = Date.now() - (number(at) ?? Number.NaN);
    return age <= ttl && age >= -SKEW;
  }
  /** A value that is worth something for a while. */
  const keep = (to: StorageLike, name: string, value: unknown) =>
    write(to, name, value && { value, at: Date.now() });
  function kept(from: StorageLike, name: string, ttl: number): unknown {
    const { value, at } = read(from, name);
    return fresh(at, ttl) ? value : null;
  }

  const shown = () =>
    new Map(Object.entries(read(local, 'shown')).filter(([, at]) => fresh(at, SHOWN_TTL)));

  const jobs: Vault['jobs'] = () =>
    Object.entries(read(local, 'jobs')).flatMap(([id, value]) => {
      const job = fields(value) as unknown as StoredJob;
      const settled = ended(job);
      const expired = !fresh(job.at, settled ? SETTLED_TTL : JOB_TTL);
      if ((settled && expired) || typeof job.current !== 'number') return [];
      return [[id, { ...job, total: number(job.total), expired }]];
    });

  function wipe(): void {
    for (const name of ['cursor', 'jobs', 'shown', 'open', 'rung'])
      for (const from of [local, session]) write(from, name, null);
    // A toast that leaves later has nothing to say to the next page.
    local = session = memoryStorage();
  }

  return {
    get cursor() {
      return text(kept(local, 'cursor', CURSOR_TTL));
    },
    set cursor(cursor) {
      keep(local, 'cursor', cursor);
    },
    get rung() {
      return number(kept(session, 'rung', RUNG_TTL)) ?? 0;
    },
    set rung(rung) {
      keep(session, 'rung', rung);
    },
    jobs,
    saveJobs(changed) {
      const entries = new Map<string, StoredJob>(jobs());
      for (const [id, job] of changed) {
        entries.delete(id);
        if (job) entries.set(id, job);
      }
      const last = [...entries].slice(-MAX_JOBS);
      write(local, 'jobs', last.length && Object.fromEntries(last));
    },
    has: (id) => shown().has(id),
    async claim(id) {
      const all = shown();
      if (all.has(id)) return false;
      all.set(id, Date.now());
      write(local, 'shown', Object.fromEntries([...all].slice(-MAX_SHOWN)));
      return first(id);
    },
    open: () => Object.values(read(session, 'open')).flatMap((id) => text(id) ?? []),
    setOpen: (ids) => write(session, 'open', ids),
    release,
    forget() {
      // What is not there cannot be removed, and it is the removal that the other tabs hear of.
      keep(local, 'cursor', true);
      wipe();
    },
    onForget(told, signal) {
      const hear = ({ key, newValue }: StorageEvent) => {
        if (newValue || key !== `${scope}cursor`) return;
        told();
        wipe();
      };
      addEventListener('storage', hear, { signal });
    },
  };
}
