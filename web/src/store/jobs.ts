import { backoff } from '../core/backoff.ts';
import { asResult, type Failure } from '../core/errors.ts';
import type { Gone, Job, JobSnapshot, JobStore, ReadableStore, Timing } from '../core/types.ts';
import { EMPTY_JOB, readJob } from '../core/wire.ts';
import type { RestoredJob, StoredJob, Vault } from '../storage/storage.ts';
import type { Http } from '../transport/http.ts';
import { createStore, onFrame, type Store } from './store.ts';
import { createVersions } from './versions.ts';

/** A job may be followed before it exists, for so long. */
const AWAIT_MS = 60_000;
/** Beyond it, ended jobs that nobody follows are dropped, the oldest first. */
const MAX_JOBS = 300;

export const ended = ({ state }: { readonly state: string }): boolean =>
  state === 'completed' || state === 'failed' || state === 'cancelled';

interface Entry {
  readonly store: Store<JobSnapshot>;
  readonly facade: JobStore;
  /** Callers of `track` that have not let go. */
  holds: number;
  /** Followed since before the last reload, until the page asks for it itself. */
  restored?: RestoredJob | null;
  /** The server is being asked for it. */
  asking?: boolean;
  missing?: boolean;
  /** Its end has been seen: it is not stored again before its next attempt. */
  released?: boolean;
  /** The attempt whose end has been told, or is about to be. */
  told?: number;
  due?: boolean;
  /** The page has its store, which therefore stays the same object. */
  handed?: boolean;
}

export interface JobsOptions {
  readonly http: Http;
  readonly vault: Vault;
  readonly timing: Timing;
  /** Aborted: nothing more is asked. */
  readonly signal: AbortSignal;
  readonly isLive: () => boolean;
  readonly updated: (job: JobSnapshot) => void;
  readonly settled: (job: JobSnapshot) => void;
  /** There is something to save soon. */
  readonly unsaved: () => void;
}

const tracked = (entry: Entry): boolean => entry.holds > 0 || !!entry.restored;

const pathOf = (id: string): string => `jobs/${encodeURIComponent(id)}`;

const settled = (store: ReadableStore<JobSnapshot>, signal?: AbortSignal): Promise<JobSnapshot> =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const look = () => {
      const job = store.getSnapshot();
      if (!ended(job) && job.state !== 'gone') return;
      leave();
      resolve(job);
    };
    const leave = store.subscribe(look);
    signal?.addEventListener('abort', () => {
      leave();
      reject(signal.reason);
    });
    look();
  });

export type Jobs = ReturnType<typeof createJobs>;

export function createJobs(options: JobsOptions) {
  const { http, vault, timing, signal } = options;
  const versions = createVersions<Job>();
  const { docs } = versions;
  const entries = new Map<string, Entry>();
  const dirty = new Set<string>();
  const unsaved = new Map<string, StoredJob | null>();

  const all = createStore<readonly JobSnapshot[]>(() =>
    [...entries.values()]
      .map(({ store }) => store.getSnapshot())
      .filter(({ stale, tracked }) => tracked || !stale)
      .sort((a, b) => b.created_at.localeCompare(a.created_at)),
  );

  function entryOf(id: string): Entry {
    let entry = entries.get(id);
    if (!entry) {
      const store = createStore(() => snapshot(id));
      const facade: JobStore = {
        ...store,
        track: () => track(id),
        settled: ({ signal } = {}) => settled(store, signal),
        cancel: (reason) => asResult(http.json(`${pathOf(id)}/cancel`, { body: { reason } })),
      };
      entry = { store, facade, holds: 0 };
      entries.set(id, entry);
    }
    return entry;
  }

  function snapshot(id: string): JobSnapshot {
    const entry = entryOf(id);
    const { restored, missing } = entry;
    const job = docs.get(id);
    const state = missing ? 'gone' : 'unknown';
    const common = { stale: !job, tracked: tracked(entry) };
    return { ...EMPTY_JOB, state, ...restored, ...job, ...common, id };
  }

  function touch(id: string): void {
    entryOf(id).store.invalidate();
    all.invalidate();
    dirty.add(id);
    onFrame(tell);
  }

  function tell(): void {
    for (const id of dirty) {
      const entry = entryOf(id);
      const job = entry.store.getSnapshot();
      const { state, attempt, rev, current, total, percent } = job;
      const stored = { state, attempt, rev, current, total, percent, at: Date.now() };
      if (job.tracked && !entry.released) unsaved.set(id, state === 'gone' ? null : stored);
      options.updated(job);
      if (entry.due) {
        entry.due = false;
        options.settled(job);
      }
    }
    dirty.clear();
    if (unsaved.size) options.unsaved();
    for (const [id, job] of docs) {
      if (docs.size <= MAX_JOBS) break;
      const entry = entryOf(id);
      if (!ended(job) || tracked(entry)) continue;
      docs.delete(id);
      if (!entry.handed) entries.delete(id);
    }
  }

  function tellEnd(entry: Entry, job: Job): void {
    if (!ended(job) || entry.told === job.attempt) return;
    entry.told = job.attempt;
    entry.due = true;
  }

  function put(job: Job | Gone): void {
    const { id } = job;
    const before = docs.get(id);
    if (!versions.put(job)) return;
    const after = docs.get(id);
    const entry = entryOf(id);
    const over = !after || ended(after);
    entry.missing = !after;
    if (!over) entry.released = false;
    // It ended while nobody was looking, too long ago to be news.
    if (over && entry.restored?.expired) release(id);
    if (entry.restored) entry.restored.expired = false;
    const wasLive = before && (!ended(before) || before.attempt !== after?.attempt);
    if (after && (wasLive || tracked(entry))) tellEnd(entry, after);
    touch(id);
  }

  function track(id: string): () => void {
    const entry = entryOf(id);
    entry.holds += 1;
    entry.restored = null;
    entry.released = false;
    const job = docs.get(id);
    if (job) tellEnd(entry, job);
    else if (options.isLive()) void ask(id);
    touch(id);
    let held = true;
    return () => {
      if (held && --entry.holds === 0) release(id);
      held = false;
    };
  }

  /** Asks for a job that the stream has not brought: it may not exist yet, or have ended long ago. */
  async function ask(id: string): Promise<void> {
    const entry = entryOf(id);
    if (entry.asking) return;
    entry.asking = true;
    const until = Date.now() + AWAIT_MS;
    for (let n = 0; tracked(entry) && !docs.has(id) && !signal.aborted; n++) {
      try {
        const answer = await versions.still(http.json(pathOf(id), { signal }));
        const job = readJob(answer?.job);
        if (job) {
          put(job);
          break;
        }
      } catch (error) {
        const final = entry.restored?.expired || Date.now() >= until;
        if (final && (error as Failure).status === 404) {
          entry.missing = true;
          if (!entry.holds) release(id);
          touch(id);
          break;
        }
      }
      const pause = backoff(timing.backoff, n, timing.jitter, Math.random());
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    entry.asking = false;
  }

  function save(): void {
    if (unsaved.size) vault.saveJobs(unsaved);
    unsaved.clear();
  }

  /** Nothing of it needs to survive a reload any more. Who still holds it goes on following it. */
  function release(id: string): void {
    const entry = entryOf(id);
    entry.restored = null;
    entry.released = true;
    unsaved.set(id, null);
    save();
    touch(id);
  }

  return {
    all,
    docs,
    put,
    release,
    save,
    reset: versions.reset,
    /** Some job has not ended. */
    busy: () => [...docs.values()].some((job) => !ended(job)),
    restore(): void {
      for (const [id, stored] of vault.jobs()) entryOf(id).restored = stored;
      all.invalidate();
    },
    get(id: string): JobStore {
      const entry = entryOf(id);
      entry.handed = true;
      return entry.facade;
    },
    /** Everything has been read: what is followed and did not come has to be asked for. */
    live(): void {
      for (const id of versions.settle()) touch(id);
      for (const [id, entry] of entries) if (tracked(entry) && !docs.has(id)) void ask(id);
    },
  };
}
