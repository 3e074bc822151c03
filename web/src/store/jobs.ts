import { asFailure } from '../core/errors.ts';
import type { Gone, Job, JobSnapshot, JobStore, Result } from '../core/types.ts';
import { EMPTY_JOB, readJob } from '../core/wire.ts';
import type { StoredJob, Vault } from '../storage/storage.ts';
import type { Http } from '../transport/http.ts';
import { type Frame, Store } from './store.ts';
import { Versions } from './versions.ts';

/** A job may be followed before it exists, for so long. */
const AWAIT_MS = 60_000;
const AWAIT_STEPS = [1000, 2000, 4000, 8000, 10_000];
const SAVE_EVERY_MS = 1000;
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
  restored: (StoredJob & { readonly expired: boolean }) | null;
  missing: boolean;
  /** Its end has been seen: it is not stored again before its next attempt. */
  released: boolean;
  /** The attempt whose end has been told, or is about to be. */
  told: number;
  due: boolean;
  /** The page has its store, which therefore stays the same object. */
  handed: boolean;
}

export interface JobsOptions {
  readonly http: Http;
  readonly frame: Frame;
  readonly vault: Vault;
  readonly now: () => number;
  readonly isLive: () => boolean;
  readonly updated: (job: JobSnapshot) => void;
  readonly settled: (job: JobSnapshot) => void;
}

export class Jobs {
  readonly all: Store<readonly JobSnapshot[]>;
  readonly #options: JobsOptions;
  readonly #versions = new Versions<Job>();
  readonly #entries = new Map<string, Entry>();
  readonly #dirty = new Set<string>();
  readonly #unsaved = new Map<string, StoredJob | null>();
  #saving: ReturnType<typeof setTimeout> | undefined;
  readonly #asking = new Map<string, AbortController>();
  #round = 0;

  constructor(options: JobsOptions) {
    this.#options = options;
    this.all = new Store(options.frame, () => this.#list());
  }

  /** Some job has not ended. */
  busy(): boolean {
    return [...this.#versions.docs.values()].some((job) => !ended(job));
  }

  restore(): void {
    for (const [id, stored] of this.#options.vault.jobs()) this.#entry(id).restored = stored;
    this.all.invalidate();
  }

  get(id: string): JobStore {
    const entry = this.#entry(id);
    entry.handed = true;
    return entry.facade;
  }

  put(job: Job | Gone): void {
    const before = this.#versions.docs.get(job.id);
    if (!this.#versions.put(job)) return;
    const after = this.#versions.docs.get(job.id);
    const entry = this.#entry(job.id);
    entry.missing = !after;
    if (entry.restored?.expired && (!after || ended(after))) {
      // It ended while nobody was looking, too long ago to be news.
      this.release(job.id);
    } else if (entry.restored) {
      entry.restored = { ...entry.restored, expired: false };
    }
    const wasLive = before && (!ended(before) || (after && before.attempt < after.attempt));
    if (after && !ended(after)) entry.released = false;
    if (after && (wasLive || tracked(entry))) this.#tellEnd(entry, after);
    this.#touch(job.id);
  }

  reset(): void {
    this.#round += 1;
    this.#versions.reset();
  }

  /** Everything has been read: what is followed and did not come has to be asked for. */
  live(): void {
    for (const id of this.#versions.settle()) this.#touch(id);
    for (const [id, entry] of this.#entries)
      if (tracked(entry) && !this.#versions.docs.has(id)) void this.#await(id);
  }

  stop(): void {
    for (const asking of this.#asking.values()) asking.abort();
  }

  /** Nothing of it needs to survive a reload any more. Who still holds it goes on following it. */
  release(id: string): void {
    const entry = this.#entries.get(id);
    if (!entry) return;
    entry.restored = null;
    entry.released = true;
    this.#unsaved.set(id, null);
    this.save();
    this.#touch(id);
  }

  save(): void {
    clearTimeout(this.#saving);
    this.#saving = undefined;
    if (this.#unsaved.size) this.#options.vault.saveJobs(this.#unsaved);
    this.#unsaved.clear();
  }

  #tellEnd(entry: Entry, job: Job): void {
    if (!ended(job) || entry.told === job.attempt) return;
    entry.told = job.attempt;
    entry.due = true;
  }

  #entry(id: string): Entry {
    let entry = this.#entries.get(id);
    if (!entry) {
      const store = new Store(this.#options.frame, () => this.#snapshot(id));
      const { getSnapshot, subscribe } = store;
      const facade: JobStore = {
        getSnapshot,
        subscribe,
        track: () => this.#track(id),
        settled: ({ signal } = {}) => this.#settled(store, signal),
        cancel: (reason) => this.#cancel(id, reason),
      };
      entry = {
        store,
        facade,
        holds: 0,
        restored: null,
        missing: false,
        released: false,
        told: 0,
        due: false,
        handed: false,
      };
      this.#entries.set(id, entry);
    }
    return entry;
  }

  #track(id: string): () => void {
    const entry = this.#entry(id);
    entry.holds += 1;
    entry.restored = null;
    entry.released = false;
    const job = this.#versions.docs.get(id);
    if (job) this.#tellEnd(entry, job);
    else if (this.#options.isLive()) void this.#await(id);
    this.#touch(id);
    let held = true;
    return () => {
      if (held && entry.holds > 0 && --entry.holds === 0) this.release(id);
      held = false;
    };
  }

  #settled(store: Store<JobSnapshot>, signal?: AbortSignal): Promise<JobSnapshot> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const job = store.getSnapshot();
        if (!ended(job) && job.state !== 'gone') return;
        leave();
        resolve(job);
      };
      const leave = store.subscribe(look);
      const abort = () => {
        leave();
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted) abort();
      else look();
    });
  }

  async #cancel(id: string, reason?: string): Promise<Result> {
    try {
      const path = `jobs/${encodeURIComponent(id)}/cancel`;
      await this.#options.http.json(path, { body: { reason } });
      return { ok: true };
    } catch (error) {
      return { ok: false, error: asFailure(error) };
    }
  }

  /** Asks for a job that the stream has not brought: it may not exist yet, or have ended long ago. */
  async #await(id: string): Promise<void> {
    if (this.#asking.has(id)) return;
    const abort = new AbortController();
    this.#asking.set(id, abort);
    const { http, now } = this.#options;
    const entry = this.#entry(id);
    const until = now() + AWAIT_MS;
    try {
      for (let attempt = 0; tracked(entry) && !this.#versions.docs.has(id); attempt++) {
        const round = this.#round;
        try {
          const { signal } = abort;
          const answer = await http.json(`jobs/${encodeURIComponent(id)}`, { signal });
          const job = readJob(answer.job);
          // After a reset its revision may be of another epoch.
          if (job && round === this.#round) return this.put(job);
        } catch (error) {
          if (abort.signal.aborted) return;
          const { status } = asFailure(error);
          const final = entry.restored?.expired || now() >= until;
          if (status === 404 && final) {
            entry.missing = true;
            if (entry.holds === 0) this.release(id);
            return this.#touch(id);
          }
        }
        const pause = AWAIT_STEPS[Math.min(attempt, AWAIT_STEPS.length - 1)];
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    } finally {
      this.#asking.delete(id);
    }
  }

  #snapshot(id: string): JobSnapshot {
    const entry = this.#entry(id);
    const job = this.#versions.docs.get(id);
    const common = { stale: !job, tracked: tracked(entry) };
    if (job) return { ...job, ...common };
    const state = entry.missing ? 'gone' : 'unknown';
    const { total, current } = entry.restored ?? EMPTY_JOB;
    const percent = total ? Math.round((1000 * (current ?? 0)) / total) / 10 : null;
    return { ...EMPTY_JOB, state, ...entry.restored, ...common, id, percent };
  }

  #list(): readonly JobSnapshot[] {
    const ids = new Set(this.#versions.docs.keys());
    for (const [id, entry] of this.#entries) if (tracked(entry)) ids.add(id);
    return [...ids]
      .map((id) => this.#entry(id).store.getSnapshot())
      .sort((a, b) => +(a.created_at < b.created_at) - +(a.created_at > b.created_at));
  }

  #touch(id: string): void {
    this.#entry(id).store.invalidate();
    this.all.invalidate();
    this.#dirty.add(id);
    this.#options.frame.add(this.#tell);
  }

  readonly #tell = (): void => {
    for (const id of this.#dirty) {
      const entry = this.#entry(id);
      const job = entry.store.getSnapshot();
      if (job.tracked && !entry.released)
        this.#unsaved.set(id, job.state === 'gone' ? null : this.#stored(job));
      this.#options.updated(job);
      if (entry.due) {
        entry.due = false;
        this.#options.settled(job);
      }
    }
    this.#dirty.clear();
    if (this.#unsaved.size) this.#saving ??= setTimeout(() => this.save(), SAVE_EVERY_MS);
    for (const [id, job] of this.#versions.docs) {
      if (this.#versions.docs.size <= MAX_JOBS) break;
      const entry = this.#entry(id);
      if (!ended(job) || tracked(entry)) continue;
      this.#versions.docs.delete(id);
      if (!entry.handed) this.#entries.delete(id);
    }
  };

  #stored(job: JobSnapshot): StoredJob {
    const { state, attempt, rev, current, total } = job;
    return { state, attempt, rev, current, total, at: this.#options.now() };
  }
}

const tracked = (entry: Entry): boolean => entry.holds > 0 || entry.restored !== null;
