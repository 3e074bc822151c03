import { reaches } from '../core/cursor.ts';
import { asResult } from '../core/errors.ts';
import type {
  AppNotification,
  Gone,
  NotificationsSnapshot,
  NotificationsStore,
  Result,
} from '../core/types.ts';
import { isGone, number, readNotification, text } from '../core/wire.ts';
import type { Http } from '../transport/http.ts';
import { createStore } from './store.ts';
import { createVersions } from './versions.ts';

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

export function createNotifications(
  http: Http,
  signal: AbortSignal,
  cursor: () => string | null,
  counted: (unread: number | null, asOf: string | null) => void,
) {
  const versions = createVersions<AppNotification>();
  const { docs } = versions;
  const pending = new Set<Pending>();
  let readUpTo = 0;
  let unread = 0;
  let unreadAt: string | null = null;
  let hasMore = false;
  let ready = false;
  let counting: ReturnType<typeof setTimeout> | undefined;

  const store = createStore<NotificationsSnapshot>(() => {
    const ids = new Set<string>();
    const archived = new Set<string>();
    let upTo = readUpTo;
    for (const change of pending) {
      if (change.id) ids.add(change.id);
      if (change.verb === 'archive') archived.add(change.id);
      upTo = Math.max(upTo, change.upTo);
    }
    const items: AppNotification[] = [];
    let unreadCount = unread;
    let newer = 0;
    for (const doc of docs.values()) {
      const { id, seq } = doc;
      const was = doc.status === 'unread' && seq > readUpTo;
      const is = was && seq > upTo && !ids.has(id);
      if (was && !is) unreadCount -= 1;
      if (is) newer += 1;
      const status = is ? 'unread' : 'read';
      if (!archived.has(id)) items.push(doc.status === status ? doc : { ...doc, status });
    }
    return {
      items: items.sort((a, b) => b.seq - a.seq),
      // While "read all" is under way, only what is newer than it can be unread.
      unreadCount: Math.max(0, upTo > readUpTo ? newer : unreadCount),
      hasMore,
      status: ready ? 'ready' : 'loading',
      pending: ids,
    };
  });
  const { getSnapshot, invalidate } = store;

  /** The server's count as of a cursor; the newest one counts, in whatever order they come. */
  function setUnread(count: number | null, at: string | null): void {
    if (count === null || (unreadAt && !reaches(at, unreadAt))) return;
    unreadAt = at;
    clearTimeout(counting);
    counting = undefined;
    if (count === unread) return;
    unread = count;
    invalidate();
  }

  function setReadUpTo(seq: number): void {
    if (seq <= readUpTo) return;
    readUpTo = seq;
    invalidate();
  }

  /** Shows the change, asks the server, then keeps it or takes it back. */
  async function change(body: object, what: Pending, keep: () => void) {
    pending.add(what);
    invalidate();
    const path = ['notifications', what.id, what.verb].filter(Boolean).map(encodeURIComponent);
    try {
      const answer = await versions.still(http.json(path.join('/'), { body }));
      if (!answer) return;
      keep();
      setUnread(number(answer.unread), text(answer.as_of) ?? cursor());
    } finally {
      pending.delete(what);
      invalidate();
    }
  }

  async function each(verb: 'read' | 'archive', ids: string | readonly string[]): Promise<Result> {
    const results = await Promise.all(
      [ids].flat().map((id) =>
        asResult(
          change({}, { verb, id, upTo: 0 }, () => {
            const doc = docs.get(id);
            if (verb === 'archive') docs.delete(id);
            // The same revision: whatever the server sends next replaces it.
            else if (doc) docs.set(id, { ...doc, status: 'read' });
          }),
        ),
      ),
    );
    return results.find(({ ok }) => !ok) ?? { ok: true };
  }

  async function markAllRead(): Promise<void> {
    const newest = getSnapshot().items[0];
    if (!newest) return;
    const { id, seq: upTo } = newest;
    await change({ up_to: id }, { verb: 'read-all', id: '', upTo }, () => setReadUpTo(upTo));
  }

  async function loadOlder(): Promise<void> {
    const query = { dialect: 'milepost', before: getSnapshot().items.at(-1)?.id, limit: PAGE };
    const answer = await versions.still(http.json('notifications', { query }));
    if (!answer) return;
    const { notifications, more } = answer;
    for (const doc of [notifications].flat().map(readNotification)) if (doc) versions.put(doc);
    hasMore = more === true;
    invalidate();
  }

  const facade: NotificationsStore = {
    ...store,
    markRead: (ids) => each('read', ids),
    archive: (ids) => each('archive', ids),
    markAllRead: () => asResult(markAllRead()),
    loadOlder: () => asResult(loadOlder()),
  };

  return {
    facade,
    held: () => ({ notifications: docs, readUpTo, unread, asOf: unreadAt }),
    setUnread,
    setReadUpTo,
    /** The document where it is new to us, else null. */
    put(doc: AppNotification | Gone): AppNotification | null {
      const { id, rev } = doc;
      const known = docs.has(id);
      const shown = !isGone(doc) && doc.status !== 'archived';
      if (!versions.put(shown ? doc : { id, rev, gone: true })) return null;
      invalidate();
      const oldest = docs.size > MAX_ITEMS && getSnapshot().items.at(-1);
      if (oldest) {
        docs.delete(oldest.id);
        hasMore = true;
        invalidate();
      }
      return shown && !known ? doc : null;
    },
    /** A broadcast carries no count. */
    recount(): void {
      counting ??= setTimeout(async () => {
        counting = undefined;
        if (signal.aborted) return;
        const asked = cursor();
        try {
          const answer = await versions.still(http.json('notifications/unread-count'));
          if (answer) counted(number(answer.unread_count), asked);
        } catch {
          // The next event of this user carries the count.
        }
      }, Math.random() * COUNT_JITTER_MS);
    },
    reset(): void {
      versions.reset();
      unreadAt = null;
      readUpTo = 0;
    },
    live(): void {
      const absent = versions.settle().length;
      if (ready && !absent) return;
      ready = true;
      hasMore = docs.size >= PAGE;
      invalidate();
    },
  };
}
