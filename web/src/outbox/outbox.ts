import { backoff, retryAfter } from '../core/backoff.ts';
import type { ReadableStore } from '../core/types.ts';
import { createStore } from '../store/store.ts';
import { createShelf, type Waiting } from './shelf.ts';

const BACKOFF = [1000, 2000, 4000, 8000, 16_000, 30_000];
const JITTER = 0.3;
const ANSWER_MS = 30_000;
/** Not answers to the request, but to the moment it came in. */
const LATER = new Set([408, 425, 429]);

export interface OutboxOptions {
  /** Whose requests they are, as the client's `userKey`: another user's are neither sent nor seen. */
  readonly userKey: string;
  /** At most so many wait at once. Default 200. */
  readonly max?: number;
  /** Headers of every attempt, such as the token of now: they are never stored. */
  readonly headers?: () => HeadersInit | Promise<HeadersInit>;
  /** The application's server has taken it (2xx). Also for what was handed over before a reload. */
  readonly onSent?: (request: Waiting, response: Response) => void;
  /** It never will (4xx): the request is out of the outbox, and the next one's turn has come. */
  readonly onRefused?: (request: Waiting, response: Response) => void;
}

export interface OutboxSnapshot {
  /** In the order in which they will be sent. */
  readonly waiting: readonly Waiting[];
  /** `signed-out`: the server wants somebody to sign in (401); `retryNow()` afterwards. */
  readonly status: 'empty' | 'sending' | 'waiting' | 'signed-out';
  /** Attempts in a row that came to nothing. */
  readonly failures: number;
}

export interface Outgoing {
  /** Of this origin or another. */
  readonly url: string;
  readonly method?: 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Anything that JSON can say. */
  readonly body?: unknown;
}

export interface Outbox extends ReadableStore<OutboxSnapshot> {
  /**
   * Hands a request over; its key. From then on it survives a reload. Throws a `RangeError` when the outbox is full, and what
   * the browser throws when it will not store it: then nothing has been handed over.
   */
  send(request: Outgoing): string;
  /** Try again now. */
  retryNow(): void;
  /** Stops sending in this tab. What waits is there for the next page. */
  close(): void;
  /** For signing out: nothing of it stays in this browser, and nothing more is sent. */
  forget(): void;
}

function randomKey(): string {
  // Not `randomUUID`: insecure origins do not have it.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * The application's own requests, sent one after the other in their order, each until it is answered: over reloads, lost
 * replies and hours without a network. A request whose reply was lost is sent again under its key; that it is carried out once
 * is the server's to see to, by that key. Tabs of one user share an outbox.
 */
export function createOutbox(options: OutboxOptions): Outbox {
  const { userKey, max = 200, headers, onSent, onRefused } = options;
  const shelf = createShelf(localStorage, userKey);
  const life = new AbortController();
  const { signal } = life;
  let status: 'sending' | 'waiting' | 'signed-out' = 'waiting';
  let failures = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running = false;

  const store = createStore<OutboxSnapshot>(() => {
    const waiting = shelf.all();
    return { waiting, status: waiting.length ? status : 'empty', failures };
  });

  function become(now: typeof status): void {
    status = now;
    store.invalidate();
  }

  /** The milliseconds until the next attempt, 0: at once; null: not before somebody says so. */
  async function attempt({ key, method, url, body }: Waiting): Promise<number | null> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
    const all = new Headers(await headers?.());
    all.set('idempotency-key', key);
    if (body !== null) all.set('content-type', 'application/json');
    const response = await fetch(url, { method, headers: all, body, signal: limit });
    if (signal.aborted) return null;
    const { ok, status: code } = response;
    if (code === 401) return null;
    if (!ok && (code >= 500 || LATER.has(code))) {
      const floor = retryAfter(response.headers.get('retry-after'), Date.now());
      return backoff(BACKOFF, failures, JITTER, Math.random(), floor);
    }
    const request = shelf.all().find((one) => one.key === key);
    shelf.remove(key);
    if (request) (ok ? onSent : onRefused)?.(request, response);
    return 0;
  }

  /** One request, the oldest, whichever tab it came from. */
  async function turn(): Promise<number | null> {
    const [oldest] = shelf.all();
    if (!oldest || signal.aborted) return null;
    become('sending');
    const wait = await attempt(oldest).catch(() =>
      signal.aborted ? null : backoff(BACKOFF, failures, JITTER, Math.random()),
    );
    failures = wait ? failures + 1 : 0;
    become(wait === null && !signal.aborted ? 'signed-out' : 'waiting');
    return wait;
  }

  async function run(): Promise<void> {
    if (running) return;
    clearTimeout(timer);
    timer = undefined;
    running = true;
    let wait: number | null = 0;
    // Each turn by itself: a tab that waits, or is frozen, does not keep the others from theirs.
    while (wait === 0 && !signal.aborted)
      wait = await ('locks' in navigator
        ? navigator.locks.request(shelf.scope, { signal }, turn).catch(() => null)
        : turn());
    running = false;
    if (signal.aborted) return;
    if (wait) timer = setTimeout(run, wait);
    // What was handed over while the last look was under way.
    else if (status !== 'signed-out' && shelf.all().length) void run();
  }

  const hear = ({ key }: StorageEvent) => {
    if (!key?.startsWith(shelf.scope)) return;
    store.invalidate();
    if (status !== 'signed-out') void run();
  };
  addEventListener('storage', hear, { signal });
  addEventListener('online', run, { signal });
  if (shelf.all().length) void run();

  return {
    ...store,
    send({ url, method = 'POST', body }) {
      if (shelf.all().length >= max) throw new RangeError(`milepost: ${max} requests are waiting`);
      const key = randomKey();
      const json = body === undefined ? null : JSON.stringify(body);
      shelf.add({ key, method, url: new URL(url, location.href).href, body: json });
      store.invalidate();
      if (!timer) void run();
      return key;
    },
    retryNow: () => void run(),
    close: () => life.abort(),
    forget() {
      life.abort();
      for (const { key } of shelf.all()) shelf.remove(key);
      store.invalidate();
    },
  };
}
