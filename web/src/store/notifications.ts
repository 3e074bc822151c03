import { type Position, position, reaches } from '../core/cursor.ts';
import { asFailure } from '../core/errors.ts';
import type {
  AppNotification,
  Gone,
  NotificationsSnapshot,
  NotificationsStore,
  Result,
} from '../core/types.ts';
import { isGone, number, readNotification, text } from '../core/wire.ts';
import type { Http } from '../transport/http.ts';
import { type Frame, Store } from './store.ts';
import { Versions } from './versions.ts';

const PAGE = 20;
/** Older ones are dropped from memory, and read again by `loadOlder`. */
const MAX_ITEMS = 500;
/** A broadcast reaches everybody at once; their questions for the count must not. */
const COUNT_JITTER_MS = 2000;

/** A change that the server has not confirmed yet. */
interface Pending {
  readonly verb: 'read' | 'archive' | 'read-all';
  readonly id: string;
  readonly upTo: number;
}

export interface NotificationsOptions {
  readonly http: Http;
  readonly frame: Frame;
  readonly random: () => number;
  readonly position: () => Position | null;
}

export class Notifications {
  readonly store: Store<NotificationsSnapshot>;
  readonly facade: NotificationsStore;
  readonly #options: NotificationsOptions;
  readonly #versions = new Versions<AppNotification>();
  readonly #pending = new Set<Pending>();
  #readUpTo = 0;
  #unread = 0;
  #unreadAt: Position | null = null;
  #more = false;
  #ready = false;
  #round = 0;
  #counting: ReturnType<typeof setTimeout> | undefined;

  constructor(options: NotificationsOptions) {
    this.#options = options;
    this.store = new Store(options.frame, () => this.#compute());
    const { getSnapshot, subscribe } = this.store;
    const list = (ids: string | readonly string[]) => (typeof ids === 'string' ? [ids] : ids);
    this.facade = {
      getSnapshot,
      subscribe,
      markRead: (ids) => this.#each('read', list(ids)),
      archive: (ids) => this.#each('archive', list(ids)),
      markAllRead: () => this.#markAllRead(),
      loadOlder: () => this.#loadOlder(),
    };
  }

  /** The document where it is new to us, else null. */
  put(doc: AppNotification | Gone): AppNotification | null {
    const { docs } = this.#versions;
    const known = docs.has(doc.id);
    const shown = !isGone(doc) && doc.status !== 'archived';
    if (!this.#versions.put(shown ? doc : { id: doc.id, rev: doc.rev, gone: true })) return null;
    this.store.invalidate();
    const oldest = docs.size > MAX_ITEMS && this.store.getSnapshot().items.at(-1);
    if (oldest) {
      docs.delete(oldest.id);
      this.#more = true;
      this.store.invalidate();
    }
    return shown && !known ? doc : null;
  }

  /** The server's count as of a revision; the newest one counts, in whatever order they come. */
  setUnread(unread: number | null, at: Position | null): void {
    if (unread === null || (this.#unreadAt && !reaches(at, this.#unreadAt))) return;
    this.#unreadAt = at;
    clearTimeout(this.#counting);
    this.#counting = undefined;
    if (unread === this.#unread) return;
    this.#unread = unread;
    this.store.invalidate();
  }

  setReadUpTo(seq: number): void {
    if (seq <= this.#readUpTo) return;
    this.#readUpTo = seq;
    this.store.invalidate();
  }

  /** A broadcast carries no count. */
  recount(): void {
    this.#counting ??= setTimeout(async () => {
      this.#counting = undefined;
      const round = this.#round;
      const asked = this.#options.position();
      try {
        const answer = await this.#options.http.json('notifications/unread-count');
        if (round === this.#round) this.setUnread(number(answer.unread_count), asked);
      } catch {
        // The next event of this user carries the count.
      }
    }, this.#options.random() * COUNT_JITTER_MS);
  }

  reset(): void {
    this.#round += 1;
    this.#versions.reset();
    this.#unreadAt = null;
    this.#readUpTo = 0;
  }

  live(): void {
    const absent = this.#versions.settle();
    if (!this.#ready || absent.length) this.#more = this.#versions.docs.size >= PAGE;
    if (this.#ready && !absent.length) return;
    this.#ready = true;
    this.store.invalidate();
  }

  stop(): void {
    clearTimeout(this.#counting);
  }

  #compute(): NotificationsSnapshot {
    const pending = new Set<string>();
    const archived = new Set<string>();
    let readUpTo = this.#readUpTo;
    for (const { verb, id, upTo } of this.#pending) {
      if (id) pending.add(id);
      if (verb === 'archive') archived.add(id);
      readUpTo = Math.max(readUpTo, upTo);
    }
    const items: AppNotification[] = [];
    let unread = this.#unread;
    let newer = 0;
    for (const doc of this.#versions.docs.values()) {
      const { id, seq } = doc;
      const was = doc.status === 'unread' && seq > this.#readUpTo;
      const is = was && seq > readUpTo && !pending.has(id);
      if (was && !is) unread -= 1;
      if (is) newer += 1;
      const status = is ? 'unread' : 'read';
      if (!archived.has(id)) items.push(doc.status === status ? doc : { ...doc, status });
    }
    return {
      items: items.sort((a, b) => b.seq - a.seq),
      // While "read all" is under way, only what is newer than it can be unread.
      unreadCount: Math.max(0, readUpTo > this.#readUpTo ? newer : unread),
      hasMore: this.#more,
      status: this.#ready ? 'ready' : 'loading',
      pending,
    };
  }

  async #each(verb: 'read' | 'archive', ids: readonly string[]): Promise<Result> {
    const results = await Promise.all(
      ids.map((id) => {
        const path = `notifications/${encodeURIComponent(id)}/${verb}`;
        return this.#change({ verb, id, upTo: 0 }, path, {}, () => {
          const { docs } = this.#versions;
          const doc = docs.get(id);
          if (verb === 'archive') docs.delete(id);
          // The same revision: whatever the server sends next replaces it.
          else if (doc) docs.set(id, { ...doc, status: 'read' });
        });
      }),
    );
    return results.find(({ ok }) => !ok) ?? { ok: true };
  }

  async #markAllRead(): Promise<Result> {
    const newest = this.store.getSnapshot().items[0];
    if (!newest) return { ok: true };
    const { id, seq: upTo } = newest;
    const change = { verb: 'read-all', id: '', upTo } as const;
    return this.#change(change, 'notifications/read-all', { up_to: id }, () =>
      this.setReadUpTo(upTo),
    );
  }

  /** Shows the change, asks the server, then keeps it or takes it back. */
  async #change(change: Pending, path: string, body: unknown, keep: () => void): Promise<Result> {
    const round = this.#round;
    this.#pending.add(change);
    this.store.invalidate();
    try {
      const { unread, as_of } = await this.#options.http.json(path, { body });
      if (round === this.#round) {
        keep();
        this.setUnread(number(unread), position(text(as_of)) ?? this.#options.position());
      }
      return { ok: true };
    } catch (error) {
      return { ok: false, error: asFailure(error) };
    } finally {
      this.#pending.delete(change);
      this.store.invalidate();
    }
  }

  async #loadOlder(): Promise<Result> {
    const oldest = this.store.getSnapshot().items.at(-1);
    const round = this.#round;
    try {
      const query = { before: oldest?.id, limit: PAGE };
      const answer = await this.#options.http.json('notifications', { query });
      const { notifications } = answer;
      if (round === this.#round) {
        for (const doc of Array.isArray(notifications) ? notifications.map(readNotification) : [])
          if (doc) this.#versions.put(doc);
        this.#more = answer.more === true;
        this.store.invalidate();
      }
      return { ok: true };
    } catch (error) {
      return { ok: false, error: asFailure(error) };
    }
  }
}
