/** The words of the client: documents as the server sends them, and the client's own interface. */
import type { Share } from '../share/share.ts';

export type Unsubscribe = () => void;

/** A value that changes. `getSnapshot` returns the same object until the value has changed. */
export interface ReadableStore<T> {
  getSnapshot(): T;
  subscribe(onChange: () => void): Unsubscribe;
}

export type JobState = 'queued' | 'running' | 'stalled' | 'completed' | 'failed' | 'cancelled';
export type Level = 'info' | 'success' | 'warning' | 'error';

export interface JobError {
  /** A code of the taxonomy (`GENERATOR_TIMEOUT`, `TEMPLATE_ERROR`, …) or the producer's own. */
  readonly code: string;
  readonly message: string;
  readonly details?: unknown;
}

/** A job, exactly as `GET /api/jobs/{id}` answers it. Times are RFC 3339 in UTC. */
export interface Job {
  readonly id: string;
  readonly kind: string;
  readonly title: string;
  readonly owner: string | null;
  readonly watchers: readonly string[];
  readonly state: JobState;
  readonly attempt: number;
  readonly current: number;
  /** `null` while the total is unknown. */
  readonly total: number | null;
  /** 0 to 100 with one decimal, `null` while the total is unknown. */
  readonly percent: number | null;
  readonly message: string;
  readonly counters: Readonly<Record<string, number>>;
  readonly item: Readonly<Record<string, unknown>> | null;
  readonly eta_seconds: number | null;
  /** Steps per second. */
  readonly rate: number | null;
  readonly result: unknown;
  readonly output_url: string | null;
  readonly error: JobError | null;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly updated_at: string;
  readonly finished_at: string | null;
  readonly rev: number;
}

/** A notification, exactly as the server sends it. */
export interface AppNotification {
  readonly id: string;
  /** `null`: for everyone. */
  readonly user: string | null;
  readonly level: Level;
  readonly title: string;
  readonly message: string;
  /** `message`, or `title` where that is empty. */
  readonly text: string;
  readonly href: string | null;
  readonly context: Readonly<Record<string, unknown>>;
  readonly status: 'unread' | 'read' | 'archived';
  readonly created_at: string;
  readonly read_at: string | null;
  /** The revision of its creation: the order of the inbox. */
  readonly seq: number;
  readonly rev: number;
}

/** What is left of a document that this user may no longer see. */
export interface Gone {
  readonly id: string;
  readonly rev: number;
  readonly gone: true;
}

/**
 * What is known of one job. `state` is `unknown` until the server has answered and `gone` when it has
 * no such job for this user. `stale`: restored from storage, not yet confirmed. `tracked`: the page
 * asked for it with `track()`.
 */
export interface JobSnapshot extends Omit<Job, 'state'> {
  readonly state: JobState | 'unknown' | 'gone';
  readonly stale: boolean;
  readonly tracked: boolean;
}

export interface JobStore extends ReadableStore<JobSnapshot> {
  /** Follow this job, across reloads, until it has ended or every caller has let go of it. */
  track(): Unsubscribe;
  /** Resolves when the job has ended, well or badly, or is gone; rejects only when `signal` aborts. */
  settled(options?: { readonly signal?: AbortSignal }): Promise<JobSnapshot>;
  cancel(reason?: string): Promise<Result>;
}

export interface NotificationsSnapshot {
  /** Newest first; what is being marked or archived already looks so. */
  readonly items: readonly AppNotification[];
  readonly unreadCount: number;
  readonly hasMore: boolean;
  readonly status: 'loading' | 'ready';
  /** Ids with a request under way. */
  readonly pending: ReadonlySet<string>;
}

/** Every method shows its effect at once and takes it back when the server refuses. None rejects. */
export interface NotificationsStore extends ReadableStore<NotificationsSnapshot> {
  markRead(ids: string | readonly string[]): Promise<Result>;
  /** Up to the newest one that is shown: what arrives meanwhile stays unread. */
  markAllRead(): Promise<Result>;
  archive(ids: string | readonly string[]): Promise<Result>;
  loadOlder(): Promise<Result>;
}

export type Result = { readonly ok: true } | { readonly ok: false; readonly error: ClientError };

export type ErrorCode =
  | 'network'
  | 'timeout'
  | 'silent'
  | 'http'
  | 'protocol'
  | 'signed-out'
  | 'forbidden';

export interface ClientError extends Error {
  readonly code: ErrorCode;
  readonly status?: number;
  /** The `code` of the server's problem document. */
  readonly problem?: string | undefined;
  readonly retryAfterMs?: number | undefined;
}

export type TransportName = 'sse' | 'long-poll' | 'poll';

/** `error`: two minutes without success on any transport; it goes on trying. */
export type ConnectionStatus =
  | 'idle'
  | 'connecting'
  | 'connected'
  | 'reconnecting'
  | 'polling'
  | 'error'
  | 'closed';

export type CloseReason = 'closed' | 'signed-out' | 'forbidden' | 'rejected';

export interface ConnectionState {
  readonly status: ConnectionStatus;
  readonly transport: TransportName;
  /** Failed attempts in a row. */
  readonly attempt: number;
  /** When the next attempt starts, in milliseconds of the client's clock. */
  readonly retryAt: number | null;
  /** Long enough without a connection to tell the user. */
  readonly notice: boolean;
  readonly error: ClientError | null;
  /** What ended the connection before: the code of a `ClientError`, or the reason of a `stream_end`. */
  readonly why: string | null;
  /** Why it is closed. */
  readonly reason: CloseReason | null;
  /** Why it is paused, when it is. */
  readonly paused: readonly string[];
}

export interface ClientEvents {
  'job.updated': JobSnapshot;
  /** Once per attempt, for jobs that end before our eyes and for tracked ones. */
  'job.settled': JobSnapshot;
  /** Fresh news: once per notification, never for what was there before. */
  'notification.created': AppNotification;
  'connection.changed': ConnectionState;
  /** The server could not resume; everything shown has been read again. */
  resynced: { readonly reason: string };
}

export type AuthReason = 'connect' | 'expired';

/** `null`: signed out. */
export type Secret = Promise<string | null> | string | null;

/** All in milliseconds, except `jitter`. */
export interface Timing {
  /** Delays between attempts while a job is active; the last one repeats. */
  readonly backoff: readonly number[];
  /** The same while none is. */
  readonly idleBackoff: readonly number[];
  /** 0.3: a delay is 70 to 100 % of its step. */
  readonly jitter: number;
  readonly connect: number;
  readonly firstByte: number;
  /** Overrides 2 × the server's heartbeat + 5 s. */
  readonly silence?: number;
  readonly stable: number;
  /** Without a connection for so long: say so. */
  readonly notice: number;
  /** Without a connection for so long: status `error`. */
  readonly lost: number;
  /** Overrides the server's `poll_seconds`. */
  readonly poll?: number;
  /** Overrides the server's `long_poll_seconds`. */
  readonly longPoll?: number;
  readonly probe: number;
  readonly hiddenGrace: number;
}

export interface StorageLike {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export type LifecycleEvent = 'visible' | 'hidden' | 'online' | 'leave';

/** What the page is doing. */
export interface Lifecycle {
  isVisible(): boolean;
  subscribe(listener: (event: LifecycleEvent) => void): Unsubscribe;
}

/** What the client takes from its surroundings. */
export interface Environment {
  readonly fetch: typeof globalThis.fetch;
  readonly lifecycle: Lifecycle;
}

export interface ClientOptions {
  /** Origin plus mount, without `/api` (which is dropped). Default: this page's origin. */
  readonly baseUrl?: string | URL;
  /** Opaque id of the signed-in user: scopes what is stored. Default `default`. */
  readonly userKey?: string;
  /**
   * The bearer token, asked for before every request; `expired` after the server has refused one. Without
   * it, and without `getTicket`, the page's cookie is used.
   */
  readonly getToken?: (reason: AuthReason, signal: AbortSignal) => Secret;
  /** A ticket of `POST /api/tickets` that the application fetches; each is good for one request. */
  readonly getTicket?: (reason: AuthReason, signal: AbortSignal) => Secret;
  /** Where to go when signed out, unless `milepost:signed-out` is cancelled. */
  readonly loginUrl?: string;
  /** The ladder, best first. Default `['sse', 'long-poll', 'poll']`. */
  readonly transports?: readonly TransportName[];
  /** `pause` (default): a hidden tab stops polling, and after `timing.hiddenGrace` its stream too. */
  readonly hidden?: 'pause' | 'keep';
  /** Default: localStorage, or memory where the browser forbids it. */
  readonly storage?: StorageLike | 'memory';
  readonly timing?: Partial<Timing>;
  /** `false` closes the client instead of trying again. */
  readonly shouldRetry?: (error: ClientError, attempt: number) => boolean;
  /** To observe, not to control. */
  readonly onError?: (error: ClientError) => void;
  /** Logs what the connection does; never a token, never a URL. */
  readonly debug?: boolean;
  /** One connection for all tabs of this user in this browser: `shareTabs` of `milepost/share`. */
  readonly share?: Share;
  readonly env?: Partial<Environment>;
}

export interface Client {
  readonly connection: ReadableStore<ConnectionState>;
  readonly notifications: NotificationsStore;
  /** Live, recently ended and tracked jobs, newest first. */
  readonly jobs: ReadableStore<readonly JobSnapshot[]>;
  /** The same id gives the same object. */
  job(id: string): JobStore;
  on<K extends keyof ClientEvents>(
    type: K,
    listener: (event: ClientEvents[K]) => void,
  ): Unsubscribe;
  /** Connect. Repeated calls do nothing; the constructor does no input or output. */
  start(): void;
  /** Disconnect until the returned function is called. Several reasons may overlap. */
  pause(reason?: string): Unsubscribe;
  /** Try again now; never drops a healthy connection. */
  retryNow(): void;
  /**
   * End for good. `forget` is for signing out: it also wipes what is stored for this user, and signs the
   * other tabs of this user out.
   */
  close(options?: { readonly forget?: boolean }): void;
  /** For the toasts of this package: what was shown or closed, across tabs and reloads. */
  readonly memory: ToastMemory;
}

export interface ToastMemory {
  /** True for the first caller of all tabs with this id within 15 minutes. */
  claim(id: string): Promise<boolean>;
  has(id: string): boolean;
  /** Ids of the toasts that are open in this tab. */
  open(): readonly string[];
  setOpen(ids: readonly string[]): void;
  /** The tracked job with this id needs no toast any more. */
  release(jobId: string): void;
}
