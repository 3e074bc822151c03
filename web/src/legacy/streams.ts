import { createClient } from '../core/client.ts';
import type { Client, ClientOptions, JobSnapshot } from '../core/types.ts';

/** `client`: one that the page has already; it is not closed with the stream. */
export type StreamOptions = ClientOptions & { readonly client?: Client };

/** One job through the connection of a client. `onJob` is told each state that the server has told. */
class Follower {
  readonly #client: Client;
  readonly #own: boolean;
  #stop: (() => void) | null = null;

  constructor(
    id: string,
    { client, ...options }: StreamOptions,
    onJob: (job: JobSnapshot) => void,
  ) {
    this.#own = !client;
    this.#client = client ?? createClient({ storage: 'memory', ...options });
    const store = this.#client.job(id);
    let last = -1;
    const draw = () => {
      const job = store.getSnapshot();
      if (job.stale || job.rev <= last) return;
      last = job.rev;
      onJob(job);
    };
    const letGo = store.track();
    const unsubscribe = store.subscribe(draw);
    this.#stop = () => {
      unsubscribe();
      letGo();
    };
    this.#client.start();
    // Of a client that was there before, the state may be known already; the caller has its object first.
    queueMicrotask(() => this.#stop && draw());
  }

  get readyState(): number {
    if (!this.#stop) return 2;
    const { status } = this.#client.connection.getSnapshot();
    return status === 'closed' ? 2 : Number(status === 'connected' || status === 'polling');
  }

  close(): void {
    this.#stop?.();
    this.#stop = null;
    if (this.#own) this.#client.close();
  }
}

export interface ProgressData {
  readonly jobId: string;
  readonly current: number;
  /** `null` while it is unknown. */
  readonly total: number | null;
  readonly message: string;
}

export interface JobProgressHandlers {
  readonly onProgress?: (data: ProgressData) => void;
  readonly onComplete?: (data: { jobId: string; total: number | null; outputUrl?: string }) => void;
  readonly onError?: (data: { jobId: string; code: string; message: string }) => void;
}

/** Product D: follows one job until it has ended. */
export class JobProgressStream {
  readonly jobId: string;
  readonly #handlers: JobProgressHandlers;
  readonly #options: StreamOptions;
  #follower: Follower | null = null;

  constructor(jobId: string, handlers: JobProgressHandlers = {}, options: StreamOptions = {}) {
    this.jobId = jobId;
    this.#handlers = handlers;
    this.#options = options;
  }

  /** Once is enough: it reconnects by itself. */
  connect(): void {
    this.#follower ??= new Follower(this.jobId, this.#options, (job) => this.#told(job));
  }

  close(): void {
    this.#follower?.close();
    this.#follower = null;
  }

  #told({ state, current, total, message, output_url, error }: JobSnapshot): void {
    const { jobId } = this;
    const { onProgress, onComplete, onError } = this.#handlers;
    if (state === 'queued' || state === 'running') onProgress?.({ jobId, current, total, message });
    else if (state !== 'stalled') {
      this.close();
      if (state === 'completed')
        onComplete?.({ jobId, total, ...(output_url !== null && { outputUrl: output_url }) });
      else if (state === 'cancelled') onError?.({ jobId, code: 'CANCELLED', message });
      else onError?.({ jobId, code: error?.code ?? 'UNEXPECTED', message: error?.message ?? '' });
    }
  }
}

export interface ImportHandlers {
  readonly onProgress?: (data: { status: string; progress: number }) => void;
  readonly onCompleted?: (data: { status: 'completed'; result: unknown }) => void;
  readonly onFailed?: (data: { status: 'failed'; error: string; details?: unknown }) => void;
}

/** Product T: opens at once, as an EventSource does, and closes when the job has ended. */
export class SSEClient {
  readonly #handlers: ImportHandlers;
  readonly #follower: Follower;

  /** `url`: of the job's stream (`…/jobs/{id}/stream`), or the job's id. */
  constructor(url: string, handlers: ImportHandlers = {}, options: StreamOptions = {}) {
    this.#handlers = handlers;
    const id = /\/jobs\/([^/?]+)/.exec(url)?.[1] ?? url;
    this.#follower = new Follower(decodeURIComponent(id), options, (job) => this.#told(job));
  }

  /** 0 connecting, 1 open, 2 closed. */
  getReadyState(): number {
    return this.#follower.readyState;
  }

  isOpen(): boolean {
    return this.getReadyState() === 1;
  }

  close(): void {
    this.#follower.close();
  }

  #told({ state, percent, result, error }: JobSnapshot): void {
    const { onProgress, onCompleted, onFailed } = this.#handlers;
    if (state === 'queued' || state === 'running')
      onProgress?.({ status: state, progress: percent ?? 0 });
    else if (state !== 'stalled') {
      this.close();
      if (state === 'completed') onCompleted?.({ status: state, result });
      else {
        const text =
          error?.message || error?.code || (state === 'cancelled' ? state : 'UNEXPECTED');
        const details = error?.details ?? null;
        onFailed?.({ status: 'failed', error: text, ...(details !== null && { details }) });
      }
    }
  }
}
