import { fields, number, parseJson, text } from '../core/wire.ts';

/** One request of the application's, as it waits to be sent. */
export interface Waiting {
  /** Sent as `Idempotency-Key`: the same for every attempt. */
  readonly key: string;
  readonly method: string;
  readonly url: string;
  /** JSON; null: none. */
  readonly body: string | null;
  /** When it was handed over, in milliseconds since 1970. */
  readonly at: number;
}

const PREFIX = 'milepost:1:';

/**
 * Requests in the order in which they were handed over, from all tabs: each under a name of its own, since two tabs that
 * wrote one list would take away what the other has added.
 */
export interface Shelf {
  readonly scope: string;
  all(): Waiting[];
  /** Throws where the browser refuses to keep it. */
  add(waiting: Omit<Waiting, 'at'>): void;
  remove(key: string): void;
}

export function createShelf(storage: Storage, userKey: string): Shelf {
  const scope = `${PREFIX}${encodeURIComponent(userKey)}:outbox:`;
  const names = () =>
    Object.keys(storage)
      .filter((name) => name.startsWith(scope))
      .sort();
  const read = (name: string): Waiting | null => {
    const { key, method, url, body, at } = fields(parseJson(() => storage.getItem(name)));
    return text(key) && text(method) && text(url)
      ? ({ key, method, url, body: text(body), at: number(at) ?? 0 } as Waiting)
      : null;
  };
  return {
    scope,
    all: () => names().flatMap((name) => read(name) ?? []),
    add(waiting) {
      // A clock that was set back must not bring it before what was there already.
      const last = Number(
        names()
          .at(-1)
          ?.slice(scope.length, scope.length + 16) ?? 0,
      );
      const place = Math.max(Date.now(), last + 1);
      const name = `${scope}${`${place}`.padStart(16, '0')}:${waiting.key}`;
      storage.setItem(name, JSON.stringify({ ...waiting, at: Date.now() }));
    },
    remove(key) {
      for (const name of names()) if (name.endsWith(`:${key}`)) storage.removeItem(name);
    },
  };
}
