import { pageLifecycle } from '../lifecycle/lifecycle.ts';
import type { Share } from '../share/share.ts';
import { createVault } from '../storage/storage.ts';
import { createJobs, type Jobs } from '../store/jobs.ts';
import { createNotifications } from '../store/notifications.ts';
import { createStore, flush, onFrame } from '../store/store.ts';
import { baseOf, createHttp } from '../transport/http.ts';
import { LADDER } from '../transport/ladder.ts';
import { type Connector, createConnector } from './connector.ts';
import { reaches } from './cursor.ts';
import { describe, type Policy, type Session, type SessionEvent } from './session.ts';
import type {
  Client,
  ClientEvents,
  ClientOptions,
  ConnectionState,
  LifecycleEvent,
  Timing,
} from './types.ts';
import type { Delivery } from './wire.ts';

export const TIMING: Timing = {
  backoff: [1000, 2000, 4000, 8000, 10_000],
  idleBackoff: [1000, 2000, 4000, 8000, 16_000, 30_000],
  jitter: 0.3,
  connect: 10_000,
  firstByte: 5000,
  stable: 30_000,
  notice: 10_000,
  lost: 120_000,
  probe: 60_000,
  hiddenGrace: 30_000,
};

const SAVE_EVERY_MS = 1000;

/** Every tab connects for itself. */
const alone: Share = ({ lead, poke }) => ({
  leads: true,
  join: lead,
  poke,
});

export function createClient(options: ClientOptions = {}): Client {
  const { lifecycle = pageLifecycle } = options.env ?? {};
  const timing = { ...TIMING, ...options.timing };
  const policy: Policy = { rungs: options.transports ?? LADDER, timing };
  const base = baseOf(options.baseUrl ?? '/', globalThis.location?.href ?? 'http://localhost/');
  const http = createHttp(base, options, (error) =>
    connector.dispatch({ type: 'close', reason: 'signed-out', error }),
  );

  const events = new EventTarget();
  const emit = <K extends keyof ClientEvents>(type: K, detail: ClientEvents[K]) =>
    events.dispatchEvent(new CustomEvent(type, { detail }));
  const log = (what: string, detail: unknown = '') => {
    // biome-ignore lint/suspicious/noConsole: asked for with `debug`
    if (options.debug) console.debug(`[milepost] ${what}`, detail);
  };

  /** Ends with the client. */
  const life = new AbortController();
  const { signal } = life;
  const vault = createVault(
    options.storage,
    options.userKey ?? 'default',
    (id) => jobs.release(id),
    async (id) => tabs.first?.(id) ?? true,
  );

  /** What this page holds in memory: only from here may it resume. */
  let cursor: string | null = null;
  /** Documents above it are news. A new page takes it from the page before. */
  let mark: string | null = null;
  let live = false;
  let resync: string | null = null;

  let saving: ReturnType<typeof setTimeout> | undefined;
  function save(): void {
    flush();
    clearTimeout(saving);
    saving = undefined;
    if (mark && tabs.leads) vault.cursor = mark;
    jobs.save();
  }
  function saveSoon(): void {
    saving ??= setTimeout(save, SAVE_EVERY_MS);
  }

  const jobs: Jobs = createJobs({
    http,
    vault,
    timing,
    signal,
    isLive: () => live,
    unsaved: saveSoon,
    updated: (job) => {
      log('progress', `${job.id} ${job.current}`);
      emit('job.updated', job);
    },
    settled: (job) => {
      log(job.state, job.id);
      emit('job.settled', job);
    },
  });
  const notifications = createNotifications(
    http,
    signal,
    () => cursor,
    (unread, asOf) => receive({ type: 'heartbeat', cursor: null, unread, asOf }),
  );

  /** The one reducer: whatever the transport, a delivery has the same effect. */
  function deliver(delivery: Delivery): void {
    const { cursor: at, unread } = delivery;
    switch (delivery.type) {
      case 'job':
        jobs.put(delivery.job);
        break;
      case 'notification': {
        const fresh = notifications.put(delivery.notification);
        if (!fresh) break;
        // A later revision of it is only its read mark.
        if (fresh.rev === fresh.seq && reaches(at, mark) && !reaches(mark, at))
          onFrame(() => {
            const { items } = notifications.facade.getSnapshot();
            const now = items.find(({ id }) => id === fresh.id);
            // It may have been read meanwhile, on another device.
            if (now?.status === 'unread') emit('notification.created', now);
          });
        if (unread === null && live && tabs.leads) notifications.recount();
        break;
      }
      case 'inbox':
        notifications.setReadUpTo(delivery.readUpTo);
        break;
      case 'live':
        live = true;
        jobs.live();
        notifications.live();
        if (resync) emit('resynced', { reason: resync });
        resync = null;
        break;
      case 'reset':
        live = false;
        cursor = null;
        resync = delivery.reason;
        jobs.reset();
        notifications.reset();
    }
    notifications.setUnread(unread, delivery.asOf);
    if (!at) return;
    cursor = at;
    if (!live && !reaches(at, mark)) return;
    mark = at;
    saveSoon();
  }

  /** From the connection of this tab, for all of them. */
  function receive(delivery: Delivery): void {
    deliver(delivery);
    tabs.tell?.([delivery]);
  }

  const connector: Connector = createConnector({
    http,
    policy,
    cursor: () => cursor,
    busy: jobs.busy,
    deliver: receive,
    changed,
  });

  const pauses = new Map<object, string>();
  const connection = createStore<ConnectionState>(() => ({
    ...describe(connector.session, policy, [...pauses.values()]),
    ...tabs.shown?.(),
  }));
  connection.subscribe(() => emit('connection.changed', connection.getSnapshot()));

  const tabs = (options.share ?? alone)({
    // Without a key, two tabs might be of two users.
    name: options.userKey && base + options.userKey,
    isVisible: lifecycle.isVisible,
    held: () => ({ cursor, live, jobs: jobs.docs, ...notifications.held() }),
    state: connection.getSnapshot,
    deliver,
    show: connection.invalidate,
    lead(transport) {
      // Another tab may use transports that this one does not.
      const rung = Math.max(transport ? policy.rungs.indexOf(transport) : vault.rung, 0);
      connector.dispatch({ type: 'start', rung });
    },
    follow: () => connector.dispatch({ type: 'pause' }),
    poke: connector.poke,
  });

  /** In with the other tabs, unless there is a reason to be away. */
  function settle(): void {
    if (!pauses.size && leave && connector.session.phase !== 'closed') return tabs.join();
    tabs.leave?.();
    connector.dispatch({ type: 'pause' });
    connection.invalidate();
  }

  function changed({ type }: SessionEvent, before: Session): void {
    const { phase, rung, cause, proven, opened, error, why, attempt } = connector.session;
    connection.invalidate();
    // The next page of this tab starts below, where streams never worked on this one.
    const start = cause && cause !== 'failures' && !proven ? rung : 0;
    if (opened) vault.rung = start;
    log(`${type}, ${connection.getSnapshot().status}`, error?.message ?? why ?? '');
    if (phase === 'closed') finish();
    tabs.tell?.([]);
    if (!error || error === before.error) return;
    options.onError?.(error);
    if (phase === 'waiting' && options.shouldRetry?.(error, attempt) === false)
      connector.dispatch({ type: 'close', reason: 'rejected' });
  }

  function finish(): void {
    save();
    settle();
    leave?.();
    life.abort();
    clearTimeout(hiding);
    if (connector.session.closed !== 'signed-out') return;
    const event = new CustomEvent('milepost:signed-out', { cancelable: true });
    if (dispatchEvent(event) && options.loginUrl) location.assign(options.loginUrl);
  }

  function pause(reason = 'caller'): () => void {
    const key = {};
    pauses.set(key, reason);
    settle();
    return () => {
      pauses.delete(key);
      settle();
    };
  }

  let leave: (() => void) | undefined;
  let hiding: ReturnType<typeof setTimeout> | undefined;
  let back: (() => void) | undefined;
  function onPage(event: LifecycleEvent): void {
    clearTimeout(hiding);
    const away = (reason: string) => {
      back ??= pause(reason);
    };
    if (event === 'visible') {
      back?.();
      back = undefined;
    }
    if (event === 'visible' || event === 'online') return tabs.poke();
    save();
    // The page may come back from the cache, its scripts frozen meanwhile and its socket dead.
    if (event === 'leave') away(event);
    else if (options.hidden !== 'keep') {
      // Nobody is looking: polls can stop at once, but a stream opened anew costs more than one kept.
      const grace = connection.getSnapshot().transport === 'sse' ? timing.hiddenGrace : 0;
      hiding = setTimeout(away, grace, event);
    }
  }

  return {
    connection,
    notifications: notifications.facade,
    jobs: jobs.all,
    memory: vault,
    job: jobs.get,
    on(type, listener) {
      const hear = (event: Event) => listener((event as CustomEvent).detail);
      events.addEventListener(type, hear);
      return () => events.removeEventListener(type, hear);
    },
    start() {
      if (leave) return;
      mark = vault.cursor;
      jobs.restore();
      leave = lifecycle.subscribe(onPage);
      vault.onForget(() => connector.dispatch({ type: 'close', reason: 'signed-out' }), signal);
      settle();
      if (!lifecycle.isVisible()) onPage('hidden');
    },
    pause,
    retryNow: tabs.poke,
    close({ forget = false } = {}) {
      connector.dispatch({ type: 'close', reason: 'closed' });
      if (forget) vault.forget();
    },
  };
}
