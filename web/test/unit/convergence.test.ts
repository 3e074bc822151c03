import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { createClient } from '../../src/core/client.ts';
import { EMPTY_JOB } from '../../src/core/wire.ts';
import { until } from '../fixture/room.ts';

/** What happened to one document, at the revision of its place in the history. */
interface Commit {
  readonly type: 'job' | 'notification' | 'inbox';
  readonly id: string;
  readonly value: number;
}

/** How one connection carries what it is given. */
interface Carriage {
  /** So much of the history has happened when it ends. */
  readonly head: number;
  /** What goes out after the connection has begun, by place in the order; again and again or not at all. */
  readonly order: readonly number[];
  /** After so many bytes it is cut. */
  readonly cut: number;
  readonly reset: boolean;
}

const commit: fc.Arbitrary<Commit> = fc.record({
  type: fc.constantFrom('job', 'job', 'notification', 'notification', 'inbox'),
  id: fc.constantFrom('a', 'b', 'c'),
  value: fc.nat(9),
});

const frame = (event: string, data: object, id = '') =>
  `event: ${event}\n${id && `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;

/** The server's side of it: the newest state of each document, and what each commit sends. */
class History {
  constructor(readonly commits: readonly Commit[]) {}

  cursor = (rev: number) => `e.${rev}.t`;

  private body(rev: number): Record<string, unknown> {
    const { type, id, value } = this.commits[rev - 1] as Commit;
    // One revision is one state: all of it follows from its place.
    if (type === 'inbox') return { read_up_to: this.readUpTo(rev) };
    if (value === 9) return { id, rev, gone: true };
    if (type === 'job') return { ...EMPTY_JOB, id, rev, current: value, total: 9 };
    const seq = this.commits.findIndex((c) => c.type === type && c.id === id) + 1;
    const status = value < 6 ? 'unread' : value === 8 ? 'archived' : 'read';
    return { id, rev, seq, status, level: 'info', title: id, text: id, context: {} };
  }

  private readUpTo(head: number): number {
    return this.commits.findLastIndex(({ type }, n) => type === 'inbox' && n < head) + 1;
  }

  /** Revisions up to the head, of each document the newest, in their order. */
  newest(head: number, after = 0): number[] {
    const last = new Map<string, number>();
    this.commits.slice(0, head).forEach(({ type, id }, n) => {
      last.set(type === 'inbox' ? type : type + id, n + 1);
    });
    return [...last.values()].filter((rev) => rev > after).sort((a, b) => a - b);
  }

  unread(head: number): number {
    return this.newest(head).filter((rev) => {
      const { status, seq } = this.body(rev);
      return status === 'unread' && Number(seq) > this.readUpTo(head);
    }).length;
  }

  frame(rev: number, head: number): string {
    const { type } = this.commits[rev - 1] as Commit;
    const count = { unread: this.unread(head), as_of: this.cursor(head) };
    const data = type === 'inbox' ? this.body(rev) : { [type]: this.body(rev) };
    return frame(type, type === 'job' ? data : { ...data, ...count }, this.cursor(rev));
  }

  /** What a page has to show in the end. */
  shown(): unknown {
    const head = this.commits.length;
    const docs = (of: Commit['type']) =>
      this.newest(head)
        .filter((rev) => this.commits[rev - 1]?.type === of)
        .map((rev) => this.body(rev))
        .filter(({ gone, status }) => !gone && status !== 'archived');
    return {
      jobs: docs('job')
        .map(({ id, rev, current }) => `${id} ${rev} ${current}`)
        .sort(),
      items: docs('notification')
        .sort((a, b) => Number(b.seq) - Number(a.seq))
        .map(({ id, status, seq }) => {
          const read = status === 'read' || Number(seq) <= this.readUpTo(head);
          return `${id} ${read ? 'read' : 'unread'}`;
        }),
      unread: this.unread(head),
    };
  }
}

/** The last connection, which stays: how it begins, and the order of what was not there when it began. */
interface Last {
  readonly reset?: boolean;
  readonly order?: readonly number[];
}

/** Runs a client through these connections and then the last one, and answers what it then shows. */
async function run(history: History, carriages: readonly Carriage[], last: Last): Promise<unknown> {
  const { commits } = history;
  const rest = [...carriages];
  let began = 0;
  const answer = (url: URL): Response => {
    const carriage = rest.shift();
    const after = Number(url.searchParams.get('after')?.split('.')[1] ?? 0);
    const head = carriage ? Math.min(carriage.head, commits.length) : commits.length;
    const from = carriage || last.order ? Math.max(after, Math.min(began, head)) : head;
    began = head;
    const { reset: resets, order = [] } = carriage ?? last;
    const reset = after > 0 && resets;
    const live = frame('live', { cursor: history.cursor(from) }, history.cursor(from));
    const text = [
      frame('connected', { heartbeat_seconds: 15 }),
      reset ? frame('reset', { reason: 'expired' }) : '',
      ...history.newest(from, reset ? 0 : after).map((rev) => history.frame(rev, from)),
      live,
      ...order.map((n) => {
        const rev = from + 1 + (n % Math.max(head - from, 1));
        return rev > head ? '' : history.frame(rev, head);
      }),
    ].join('');
    const bytes = new TextEncoder().encode(text);
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(carriage ? bytes.slice(0, carriage.cut) : bytes);
        if (carriage) controller.close();
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  };
  let whole = false;
  const client = createClient({
    storage: 'memory',
    transports: ['sse'],
    timing: { backoff: [0], idleBackoff: [0] },
    env: {
      fetch: async (input) => {
        whole = rest.length === 0;
        return answer(new URL(String(input)));
      },
    },
  });
  onTestFinished(() => client.close());
  client.start();
  await until(() => whole && client.connection.getSnapshot().status === 'connected');
  await until(() => client.notifications.getSnapshot().status === 'ready');
  const { items, unreadCount: unread } = client.notifications.getSnapshot();
  const jobs = client.jobs.getSnapshot().map(({ id, rev, current }) => `${id} ${rev} ${current}`);
  client.close();
  return { jobs: jobs.sort(), items: items.map(({ id, status }) => `${id} ${status}`), unread };
}

const history = fc.array(commit, { minLength: 1, maxLength: 25 }).map((all) => new History(all));
const head = fc.nat(25);

test('cut anywhere, as often as you like: a client that resumes shows what is so', async () => {
  const order = Array.from({ length: 25 }, (_, n) => n);
  const carriage = fc.record({
    head,
    order: fc.constant(order),
    cut: fc.nat(6000),
    reset: fc.constant(false),
  });
  await fc.assert(
    fc.asyncProperty(history, fc.array(carriage, { maxLength: 4 }), async (past, carriages) => {
      expect(await run(past, carriages, {})).toEqual(past.shown());
    }),
    { numRuns: 150 },
  );
}, 60_000);

test('any order, any repetition, any loss: after the next reset a client shows what is so', async () => {
  const carriage = fc.record({
    head,
    order: fc.array(fc.nat(24), { maxLength: 30 }),
    cut: fc.nat(8000),
    reset: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(history, fc.array(carriage, { maxLength: 4 }), async (past, carriages) => {
      expect(await run(past, carriages, { reset: true })).toEqual(past.shown());
    }),
    { numRuns: 150 },
  );
}, 60_000);

test('any order and any repetition on one connection make no difference', async () => {
  const every = Array.from({ length: 25 }, (_, n) => n);
  const order = fc
    .tuple(fc.shuffledSubarray(every, { minLength: 25 }), fc.array(fc.nat(24)))
    .map((parts) => parts.flat());
  await fc.assert(
    fc.asyncProperty(history, order, async (past, order) => {
      expect(await run(past, [], { order })).toEqual(past.shown());
    }),
    { numRuns: 150 },
  );
}, 60_000);
