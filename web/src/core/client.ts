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
  const { lifecycle, fetch } = {
    fetch: (...call: Parameters<typeof globalThis.fetch>) => globalThis.fetch(...call),
    lifecycle: pageLifecycle,
    ...options.env,
  };
  const timing = { ...TIMING, ...options.timing };
  const policy: Policy = { rungs: options.transports ?? LADDER, timing };
  const base = baseOf(options.baseUrl ?? '/', globalThis.location?.href ?? 'http://localhost/');
  const http = createHttp(base, options, fetch, (error) =>
    connector.dispatch({ type: 'close', reason: 'signed-out', error }),
  );

  const listeners = new Map<string, Set<(event: never) => void>>();
  const emit = <K extends keyof ClientEvents>(type: K, event: ClientEvents[K]) => {
    for (const listener of [...(listeners.get(type) ?? [])])
      (listener as (event: ClientEvents[K]) => void)(event);
  };
  const log = (what: string, detail: unknown = '') => {
    // biome-ignore lint/suspicious/noConsole: asked for with `debug`
    if (options.debug) console.debug(`[milepost] ${what}`, detail);
  };

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
    isLive: () => live,
    unsaved: saveSoon,
    updated: (job) => {
      log('progress', `${job.id} ${job.state} ${job.current}/${job.total ?? '?'}`);
      emit('job.updated', job);
    },
    settled: (job) => {
      log(job.state, job.id);
      emit('job.settled', job);
    },
  });
  const notifications = createNotifications(
    http,
    () => cursor,
    (unread, asOf) => receive({ type: 'heartbeat', cursor: null, unread, asOf }),
  );

  /** Unless it has been read meanwhile, on another device. */
  function tellCreated(id: string): void {
    const { items } = notifications.facade.getSnapshot();
    const notification = items.find((item) => item.id === id);
    if (notification?.status === 'unread') emit('notification.created', notification);
  }

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
          onFrame(() => tellCreated(fresh.id));
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
    shouldRetry: options.shouldRetry,
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
  const announce = () => emit('connection.changed', connection.getSnapshot());
  function show(): void {
    connection.invalidate();
    onFrame(announce);
  }

  const tabs = (options.share ?? alone)({
    // Without a key, two tabs might be of two users.
    name: options.userKey && base + options.userKey,
    isVisible: lifecycle.isVisible,
    held: () => ({ cursor, live, jobs: jobs.docs, ...notifications.held() }),
    state: connection.getSnapshot,
    deliver,
    show,
    lead(transport) {
      // Another tab may use transports that this one does not.
      const rung = Math.max(transport ? policy.rungs.indexOf(transport) : vault.rung, 0);
      const { phase } = connector.session;
      connector.dispatch(phase === 'idle' ? { type: 'start', rung } : { type: 'resume' });
    },
    follow: () => connector.dispatch({ type: 'pause' }),
    poke: connector.poke,
  });

  /** In with the other tabs, unless there is a reason to be away. */
  function settle(): void {
    if (!pauses.size && leave && connector.session.phase !== 'closed') return tabs.join();
    tabs.leave?.();
    connector.dispatch({ type: 'pause' });
    show();
  }

  function changed({ type }: SessionEvent, before: Session): void {
    const { phase, rung, cause, proven, opened, error, why } = connector.session;
    show();
    // The next page of this tab starts below, where streams never worked on this one.
    const start = cause && cause !== 'failures' && !proven ? rung : 0;
    if (opened && start !== vault.rung) vault.rung = start;
    log(`${type}, ${connection.getSnapshot().status}`, error?.message ?? why ?? '');
    if (error && error !== before.error) options.onError?.(error);
    if (phase === 'closed') finish();
    tabs.tell?.([]);
  }

  function finish(): void {
    save();
    settle();
    leave?.();
    jobs.stop();
    notifications.stop();
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
    if (event !== 'hidden' && event !== 'leave') {
      back?.();
      back = undefined;
      tabs.poke();
      return;
    }
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
      const set = listeners.get(type) ?? new Set();
      listeners.set(type, set.add(listener as (event: never) => void));
      return () => void set.delete(listener as (event: never) => void);
    },
    start() {
      if (leave) return;
      mark = vault.cursor;
      jobs.restore();
      leave = lifecycle.subscribe(onPage);
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
