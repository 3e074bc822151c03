import { pageLifecycle } from '../lifecycle/lifecycle.ts';
import { Vault } from '../storage/storage.ts';
import { Jobs } from '../store/jobs.ts';
import { Notifications } from '../store/notifications.ts';
import { Frame, Store } from '../store/store.ts';
import { baseOf, createHttp } from '../transport/http.ts';
import { LADDER } from '../transport/ladder.ts';
import { Connector } from './connector.ts';
import { type Position, position, reaches } from './cursor.ts';
import { describe, type Policy, type Session, type SessionEvent } from './session.ts';
import type {
  Client,
  ClientEvents,
  ClientOptions,
  ConnectionState,
  Environment,
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

const CURSOR_EVERY_MS = 1000;

export function createClient(options: ClientOptions = {}): Client {
  const env: Environment = {
    fetch: (input, init) => globalThis.fetch(input, init),
    now: () => Date.now(),
    random: () => Math.random(),
    lifecycle: pageLifecycle(),
    ...options.env,
  };
  const timing = { ...TIMING, ...options.timing };
  const policy: Policy = { rungs: options.transports ?? LADDER, timing };
  const base = baseOf(options.baseUrl ?? '/', globalThis.location?.href ?? 'http://localhost/');
  const http = createHttp(base, options, env, (error) =>
    connector.dispatch({ type: 'close', reason: 'signed-out', error }),
  );

  const frame = new Frame();
  const listeners = new Map<string, Set<(event: never) => void>>();
  const emit = <K extends keyof ClientEvents>(type: K, event: ClientEvents[K]) => {
    for (const listener of [...(listeners.get(type) ?? [])])
      (listener as (event: ClientEvents[K]) => void)(event);
  };
  const log = (what: string, detail: unknown = '') => {
    // biome-ignore lint/suspicious/noConsole: asked for with `debug`
    if (options.debug) console.debug(`[milepost] ${what}`, detail);
  };

  const vault = new Vault({
    storage: options.storage,
    userKey: options.userKey ?? 'default',
    now: env.now,
    release: (id) => jobs.release(id),
  });

  /** What this page holds in memory: only from here may it resume. */
  let cursor: string | null = null;
  /** Documents above it are news. A new page takes it from the page before. */
  let mark: Position | null = null;
  let live = false;
  let savedAt = 0;

  const jobs: Jobs = new Jobs({
    http,
    frame,
    vault,
    now: env.now,
    isLive: () => live,
    updated: (job) => {
      log('progress', `${job.id} ${job.state} ${job.current}/${job.total ?? '?'}`);
      emit('job.updated', job);
    },
    settled: (job) => {
      log(job.state, job.id);
      emit('job.settled', job);
    },
  });
  const notifications = new Notifications({
    http,
    frame,
    random: env.random,
    position: () => position(cursor),
  });

  const save = () => {
    frame.flush();
    if (cursor) vault.cursor = cursor;
    jobs.save();
  };

  function advance(to: string | null): void {
    if (!to) return;
    cursor = to;
    const at = position(to);
    if (live || reaches(at, mark)) mark = at;
    if (live && env.now() - savedAt >= CURSOR_EVERY_MS) {
      savedAt = env.now();
      vault.cursor = to;
    }
  }

  /** Unless it has been read meanwhile, on another device. */
  function tellCreated(id: string): void {
    const { items } = notifications.store.getSnapshot();
    const notification = items.find((item) => item.id === id);
    if (notification?.status === 'unread') emit('notification.created', notification);
  }

  /** The one reducer: whatever the transport, a delivery has the same effect. */
  function deliver(delivery: Delivery): void {
    switch (delivery.type) {
      case 'job':
        jobs.put(delivery.job);
        advance(delivery.cursor);
        break;
      case 'notification': {
        const { notification, unread, asOf } = delivery;
        const fresh = notifications.put(notification);
        const at = position(delivery.cursor);
        // A later revision of it is only its read mark.
        const created = fresh !== null && fresh.rev === fresh.seq;
        if (created && mark && reaches(at, mark) && fresh.rev > mark.revision)
          frame.add(() => tellCreated(fresh.id));
        advance(delivery.cursor);
        notifications.setUnread(unread, position(asOf));
        if (unread === null && fresh && live) notifications.recount();
        break;
      }
      case 'inbox':
        notifications.setReadUpTo(delivery.readUpTo);
        notifications.setUnread(delivery.unread, position(delivery.asOf));
        advance(delivery.cursor);
        break;
      case 'live':
        live = true;
        jobs.live();
        notifications.live();
        advance(delivery.cursor);
        if (resync) emit('resynced', { reason: resync });
        resync = null;
        break;
      case 'heartbeat':
        advance(delivery.cursor);
        break;
      case 'reset':
        live = false;
        cursor = null;
        resync = delivery.reason;
        jobs.reset();
        notifications.reset();
    }
  }
  let resync: string | null = null;

  const pauses = new Map<symbol, string>();
  const connection = new Store<ConnectionState>(frame, () =>
    describe(connector.session, policy, [...new Set(pauses.values())]),
  );

  function changed(session: Session, event: SessionEvent): void {
    connection.invalidate();
    frame.add(announce);
    const { error } = session;
    // The next page of this tab starts below, where streams never worked on this one.
    const { cause } = session;
    const rung = cause && cause !== 'failures' && !session.proven ? session.rung : 0;
    if (session.opened && rung !== vault.rung) vault.rung = rung;
    switch (event.type) {
      case 'start':
      case 'resume':
        log('connecting');
        break;
      case 'opened':
        log('opened', policy.rungs[session.rung]);
        break;
      case 'ended':
        log('ended', event.outcome.kind === 'ended' ? event.outcome.reason : error?.message);
        if (event.outcome.kind !== 'ended') options.onError?.(event.outcome.error);
        break;
      case 'close':
        if (event.error) options.onError?.(event.error);
        finish(session);
    }
  }
  const announce = () => emit('connection.changed', connection.getSnapshot());

  function finish({ closed }: Session): void {
    save();
    leave?.();
    jobs.stop();
    notifications.stop();
    clearTimeout(hiding);
    if (closed !== 'signed-out') return;
    const event = new CustomEvent('milepost:signed-out', { cancelable: true });
    if (window.dispatchEvent(event) && options.loginUrl) window.location.assign(options.loginUrl);
  }

  const connector: Connector = new Connector({
    http,
    env,
    policy,
    shouldRetry: options.shouldRetry ?? (() => true),
    cursor: () => cursor,
    busy: () => jobs.busy(),
    deliver,
    changed,
  });

  function pause(reason = 'caller'): () => void {
    const key = Symbol(reason);
    pauses.set(key, reason);
    connection.invalidate();
    connector.dispatch({ type: 'pause' });
    return () => {
      pauses.delete(key);
      connection.invalidate();
      if (!pauses.size) connector.dispatch({ type: 'resume' });
    };
  }

  let leave: (() => void) | null = null;
  let hiding: ReturnType<typeof setTimeout> | undefined;
  let show: (() => void) | null = null;
  function onPage(event: LifecycleEvent): void {
    clearTimeout(hiding);
    switch (event) {
      case 'hidden':
        save();
        if (options.hidden !== 'keep')
          hiding = setTimeout(() => {
            show ??= pause('hidden');
          }, timing.hiddenGrace);
        break;
      case 'leave':
        // The page may come back from the cache, its scripts frozen meanwhile and its socket dead.
        save();
        show ??= pause('left');
        break;
      default:
        show?.();
        show = null;
        connector.poke();
    }
  }

  return {
    connection,
    notifications: notifications.facade,
    jobs: jobs.all,
    memory: vault,
    job: (id) => jobs.get(id),
    on(type, listener) {
      const set = listeners.get(type) ?? new Set();
      listeners.set(type, set);
      set.add(listener as (event: never) => void);
      return () => void set.delete(listener as (event: never) => void);
    },
    start() {
      if (connector.session.phase !== 'idle') return;
      mark = position(vault.cursor);
      jobs.restore();
      leave = env.lifecycle.subscribe(onPage);
      connector.dispatch({ type: 'start', rung: vault.rung });
      if (pauses.size) connector.dispatch({ type: 'pause' });
      if (!env.lifecycle.isVisible()) onPage('hidden');
    },
    pause,
    retryNow: () => connector.poke(),
    close({ forget = false } = {}) {
      connector.dispatch({ type: 'close', reason: 'closed' });
      if (forget) vault.forget();
    },
  };
}
