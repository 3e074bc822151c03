import type { Client, TransportName, Unsubscribe } from '../core/types.ts';
import { all, on } from '../ui/dom.ts';
import { createSums } from './sums.ts';

/** Documents that wait for the hub's time. */
const MAX_WAITING = 100;
/** A slower answer says too little about what time it is. */
const MAX_ANSWER_MS = 1000;
const ASK_EVERY_MS = 10_000;

export interface AnalyticsOptions {
  /** Whose tabs these are, as the client's `userKey`: one of them counts. */
  readonly userKey?: string;
  /** Where the hub takes reports. Default `/api/client-reports`. */
  readonly url?: string | URL;
  /** Headers of every report, such as the token of now. Without them the page's cookie is used. */
  readonly headers?: () => HeadersInit | Promise<HeadersInit>;
  /** How often what was counted is posted, in milliseconds; it also is when the page is hidden. Default 300,000. */
  readonly everyMs?: number;
}

const isOpen = (status: string) => status === 'connected' || status === 'polling';
/** Of the clock that is never set: all times here are its milliseconds. */
const now = () => performance.now();

/**
 * Tells the hub, in sums without any id, how the connection does: reconnections by reason, changes of transport, how long
 * documents take to the screen, and whether people look at them. Of all tabs of a user one counts, one that is looked at.
 * A report that does not arrive is not sent again; a hub that wants none (403, 404) gets no other.
 */
export function attachAnalytics(client: Client, options: AnalyticsOptions = {}): Unsubscribe {
  const { userKey = '', url = '/api/client-reports', headers, everyMs = 300_000 } = options;
  const sums = createSums();
  /** It is this tab that counts. */
  let counts = false;
  const count: typeof sums.count = (what, name) => counts && sums.count(what, name);

  // --- the connection -----------------------------------------------------------------------------

  let transport: TransportName | undefined;
  let lost: string | null = null;
  let before = '';
  /** What is older was late for reasons of its own. */
  let since = 0;

  function look(): void {
    const { status, why, transport: present } = client.connection.getSnapshot();
    if (isOpen(status)) {
      if (lost) count('reconnections', lost);
      if (transport && transport !== present) count('transports', present);
      transport = present;
      lost = null;
    } else if (status === 'reconnecting') {
      // Not one that begins after a pause, or in the place of another tab.
      if (isOpen(before)) lost = why;
      transport ??= present;
    } else if (status !== 'error') lost = null;
    if (before === 'idle') since = now();
    before = status;
  }

  // --- documents ----------------------------------------------------------------------------------

  /** What the hub's clock shows when ours is at zero. */
  let zero = 0;
  let asked = -ASK_EVERY_MS;
  let waiting: [time: number, at: number][] = [];
  let newest = 0;

  function shown(time: string, rev: number): void {
    // Told again without news.
    if (!counts || rev <= newest) return;
    newest = rev;
    if (waiting.push([Date.parse(time), now()]) > MAX_WAITING) waiting.shift();
    if (zero) measure();
    else if (askable()) send(true);
  }
  const askable = () => waiting.length > 0 && now() - asked >= ASK_EVERY_MS;

  function measure(): void {
    // More than a little before its time: this device has slept, and its clock with it.
    for (const [time, at] of waiting)
      if (at + zero - time < -MAX_ANSWER_MS) zero = 0;
      else if (time - zero > since) sums.delay(Math.max(0, at + zero - time) / 1000);
    waiting = [];
  }

  async function post(body: string): Promise<void> {
    asked = now();
    const all = new Headers(await headers?.());
    all.set('content-type', 'application/json');
    const sent = now();
    // It outlives the page.
    const how = { method: 'POST', keepalive: true, credentials: 'include' } as const;
    const response = await fetch(url, { ...how, headers: all, body });
    if (response.status === 403 || response.status === 404) {
      sums.take(true);
      return detach();
    }
    const { time } = await response.json();
    const took = now() - sent;
    if (!time || took > MAX_ANSWER_MS) return;
    zero = Date.parse(time) - sent - took / 2;
    measure();
  }

  function send(wanted: boolean): void {
    const body = sums.take(wanted);
    // Lost is lost: it was only for the statistics.
    if (body) post(body).catch(() => {});
  }

  // --- whose turn it is ---------------------------------------------------------------------------

  let turn: AbortController | undefined;
  const timer = setInterval(() => send(askable()), everyMs);

  function begin(): void {
    turn = new AbortController();
    const { signal } = turn;
    const mine = () => {
      counts = !signal.aborted;
      since = now();
      return new Promise((resolve) => {
        signal.onabort = resolve;
      });
    };
    // Where there are no locks each tab has a connection of its own, too.
    if (!navigator.locks) mine();
    else
      navigator.locks.request(`milepost:1:${userKey}:analytics`, { signal }, mine).catch(() => {});
  }

  function end(): void {
    // What it has not been told yet.
    look();
    send(false);
    turn?.abort();
    counts = false;
    waiting = [];
  }

  function turnTo({ type }: Event): void {
    end();
    if (type !== 'pagehide' && document.visibilityState === 'visible') begin();
  }

  function onClick({ target }: Event): void {
    const on = (what: string) => (target as Element).closest(`.milepost-${what}`);
    if (on('actions a')) count('actions', 'toast_clicked');
    if (on('bell[aria-expanded=true]')) count('actions', 'inbox_opened');
  }

  const detach = all(
    end,
    () => clearInterval(timer),
    client.connection.subscribe(look),
    client.on('job.updated', ({ updated_at, rev, stale }) => stale || shown(updated_at, rev)),
    client.on('notification.created', ({ created_at, rev }) => {
      count('actions', 'notified');
      shown(created_at, rev);
    }),
    // All of it is told anew, perhaps by other numbers.
    client.on('resynced', () => {
      newest = 0;
      since = now();
    }),
    on(document, 'click', onClick),
    on(document, 'visibilitychange', turnTo),
    on(window, 'pagehide', turnTo),
    on(window, 'pageshow', turnTo),
  );
  turnTo(new Event('pageshow'));
  return detach;
}
