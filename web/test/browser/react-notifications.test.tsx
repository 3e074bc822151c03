import { expect, test } from 'vitest';
import type { Client } from '../../src/core/types.ts';
import {
  type UseNotifications,
  type UseNotificationsOptions,
  useMilepost,
  useNotifications,
  useUnreadCount,
} from '../../src/react/index.ts';
import { aWhile, show, strict } from '../fixture/react.tsx';
import { room, until } from '../fixture/room.ts';

strict();

class Log {
  readonly all: UseNotifications[] = [];
  readonly heard: string[] = [];
  readonly errors: string[] = [];
  readonly counts: number[] = [];
  client: Client | undefined;

  get now(): UseNotifications {
    return this.all.at(-1) as UseNotifications;
  }

  get ids(): string[] {
    return this.now.notifications.map(({ id }) => id);
  }
}

/** With functions that are new each time. */
function Inbox({ log, ...options }: { log: Log } & UseNotificationsOptions) {
  log.client = useMilepost();
  log.all.push(
    useNotifications({
      onNotification: ({ id }) => log.heard.push(id),
      onError: ({ code }) => log.errors.push(code),
      ...options,
    }),
  );
  return null;
}

function Badge({ log }: { log: Log }) {
  log.counts.push(useUnreadCount());
  return null;
}

const asked = async (server: Pick<ReturnType<typeof room>, 'do'>) =>
  (await server.do()).seen.filter(({ path }) => path === '/stream');

test('C: the token goes into the Authorization header; one event makes one unread; it closes on unmount', async () => {
  const { url, ...server } = room();
  const log = new Log();
  const options = { baseUrl: url, getToken: () => 'abc.def' };
  const shown = show(options, <Inbox log={log} />);
  await until(() => log.now?.isConnected);
  expect(log.now).toMatchObject({ notifications: [], unreadCount: 0, reconnectAttempts: 0 });
  await server.do({ notify: { id: 'n', title: 'Transcription complete' } });
  await until(() => log.now.unreadCount === 1);
  expect(log.ids).toEqual(['n']);
  await until(() => log.heard.length);
  expect(log.heard).toEqual(['n']);
  expect((await server.do()).streams).toBe(1);
  shown.leave();
  await until(async () => (await server.do()).streams === 0);
  const { seen } = await server.do();
  expect(new Set(seen.map(({ authorization }) => authorization))).toEqual(
    new Set(['Bearer abc.def']),
  );
});

test('C: it reconnects after 1 s and then after 2 s, and says how often it has tried', async () => {
  const { url, ...server } = room();
  const log = new Log();
  await server.do({ faults: { stream: 503 } });
  show({ baseUrl: url, transports: ['sse'] }, <Inbox log={log} />);
  await until(async () => (await asked(server)).length >= 3, 30_000);
  const [first = 0, second = 0, third = 0] = (await asked(server)).map(({ at }) => at);
  // Jitter only shortens, to 70 % of the step at least; a slow machine only adds.
  expect(second - first).toBeGreaterThan(650);
  expect(third - second).toBeGreaterThan(1350);
  const attempts = [...new Set(log.all.map(({ reconnectAttempts }) => reconnectAttempts))];
  expect(attempts.slice(0, 3)).toEqual([0, 1, 2]);
  await server.do({ faults: {} });
  log.client?.retryNow();
  await until(() => log.now.isConnected);
  expect(log.now.reconnectAttempts).toBe(0);
});

test('too many failed attempts are told once; it goes on trying, and may be told again after the next connection', async () => {
  const { url, ...server } = room();
  const log = new Log();
  const timing = { backoff: [10], idleBackoff: [10] };
  show({ baseUrl: url, transports: ['sse'], timing }, <Inbox log={log} maxReconnectAttempts={3} />);
  for (let n = 1; n < 3; n++) {
    await until(() => log.now?.isConnected);
    await server.do({ faults: { stream: 503 } }, { drop: true });
    await until(() => log.errors.length === n);
    const { length } = await asked(server);
    await until(async () => (await asked(server)).length > length + 5);
    expect(log.errors).toHaveLength(n);
    await server.do({ faults: {} });
  }
});

test('signed out is told at once, and once', async () => {
  const { url } = room();
  const log = new Log();
  show({ baseUrl: url, getToken: () => null }, <Inbox log={log} />);
  await until(() => log.errors.length);
  await aWhile();
  expect(log.errors).toEqual(['signed-out']);
  expect(log.now.isConnected).toBe(false);
});

test('reading and archiving show at once, and what the server refuses is taken back', async () => {
  const { url, ...server } = room();
  const log = new Log();
  await server.do({ notify: { id: 'n1' } }, { notify: { id: 'n2' } });
  show({ baseUrl: url }, <Inbox log={log} />);
  await until(() => log.now?.unreadCount === 2);
  await server.do({ faults: { post: 500, postDelayMs: 400 } });
  const refused = log.now.markRead('n1');
  await until(() => log.now.unreadCount === 1);
  expect(log.now.pending.has('n1')).toBe(true);
  expect(await refused).toMatchObject({ ok: false });
  await until(() => log.now.unreadCount === 2);
  await server.do({ faults: { postDelayMs: 400 } });
  const archived = log.now.archive('n1');
  await until(() => log.ids.join() === 'n2');
  expect(await archived).toEqual({ ok: true });
  expect(await log.now.markAllRead()).toEqual({ ok: true });
  await until(() => log.now.unreadCount === 0);
  expect(log.ids).toEqual(['n2']);
});

test('older ones are loaded by page', async () => {
  const { url, ...server } = room();
  const log = new Log();
  const many = Array.from({ length: 30 }, (_, n) => ({ notify: { id: `n${n}`, status: 'read' } }));
  await server.do(...many);
  show({ baseUrl: url }, <Inbox log={log} />);
  await until(() => log.now?.hasMore && log.now.status === 'ready');
  expect(log.ids).toHaveLength(30);
  expect(await log.now.loadOlder()).toEqual({ ok: true });
  await until(() => !log.now.hasMore);
});

test('not enabled, or disconnected, it starts nothing, hears nothing, and leaves the others alone', async () => {
  const { url, ...server } = room();
  const [one, two] = [new Log(), new Log()];
  const shown = show({ baseUrl: url }, <Inbox key="one" log={one} enabled={false} />);
  await aWhile();
  expect((await server.do()).seen).toEqual([]);
  shown.show(
    <>
      <Inbox key="one" log={one} />
      <Inbox key="two" log={two} />
    </>,
  );
  await until(() => one.now.isConnected && two.now?.isConnected);
  one.now.disconnect();
  await until(() => !one.now.isConnected);
  await server.do({ notify: { id: 'n1' } });
  await until(() => two.heard.length === 1);
  expect(two.now.isConnected).toBe(true);
  one.now.connect();
  await until(() => one.now.isConnected);
  await server.do({ notify: { id: 'n2' } });
  await until(() => two.heard.length === 2 && one.heard.length === 1);
  expect(one.heard).toEqual(['n2']);
  expect(await asked(server)).toHaveLength(1);
});

test('the unread count draws anew when it changes, and not when anything else does', async () => {
  const { url, ...server } = room();
  const log = new Log();
  show({ baseUrl: url }, <Badge log={log} />);
  await server.do({ notify: { id: 'n1' } });
  await until(() => log.counts.at(-1) === 1);
  const { length } = log.counts;
  await server.do({ notify: { id: 'n2', status: 'read' } }, { put: { id: 'a', state: 'running' } });
  await aWhile();
  expect(log.counts).toHaveLength(length);
  await server.do({ notify: { id: 'n3' } });
  await until(() => log.counts.at(-1) === 2);
});
