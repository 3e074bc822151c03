import { expect, onTestFinished, test, vi } from 'vitest';
import { room, until } from '../fixture/room.ts';

const quick = { backoff: [10], idleBackoff: [10] };
const signedOut = () => {
  const heard = vi.fn();
  window.addEventListener('milepost:signed-out', heard);
  onTestFinished(() => window.removeEventListener('milepost:signed-out', heard));
  return heard;
};

test('the token goes into the Authorization header, never into a URL', async () => {
  const { client: make, ...server } = room();
  const getToken = vi.fn(async () => 'secret-1');
  make({ getToken, timing: quick }).start();
  const { seen } = await until(async () => {
    const state = await server.do();
    return state.streams === 1 && state;
  });
  expect(getToken).toHaveBeenCalledWith('connect', expect.any(AbortSignal));
  expect(seen[0]?.authorization).toBe('Bearer secret-1');
  expect(seen[0]?.accept).toBe('text/event-stream, application/problem+json');
  expect(JSON.stringify(seen.map(({ query }) => query))).not.toContain('secret');
});

test('a refused token is renewed once, without a delay and without anyone noticing', async () => {
  const { client: make, ...server } = room();
  await server.do({ faults: { token: 'new' } });
  const out = signedOut();
  const getToken = vi.fn(async (reason: string) => (reason === 'expired' ? 'new' : 'old'));
  const client = make({ getToken, timing: quick });
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  expect(getToken.mock.calls.map(([reason]) => reason)).toEqual(['connect', 'expired']);
  expect(out).not.toHaveBeenCalled();
});

test('a token that expires during the stream is renewed, and the stream resumes from its cursor', async () => {
  const { client: make, ...server } = room();
  await server.do({ faults: { token: 't1' } }, { put: { id: 'a', current: 1 } });
  let token = 't1';
  const getToken = vi.fn(async (reason: string) => {
    if (reason === 'expired') token = 't2';
    return token;
  });
  const client = make({ getToken, timing: quick });
  client.start();
  await until(() => client.job('a').getSnapshot().current === 1);
  await server.do({ faults: { token: 't2' } }, { drop: { reason: 'token_expired', retry_ms: 0 } });
  await server.do({ put: { id: 'a', current: 2 } });
  await until(() => client.job('a').getSnapshot().current === 2);
  const { seen } = await server.do();
  expect(seen.at(-1)).toMatchObject({
    authorization: 'Bearer t2',
    query: { after: 'e1.1.tag', reason: 'token_expired' },
  });
});

for (const [name, second] of [
  ['refused again', 'still-bad'],
  ['not to be had', null],
] as const)
  test(`a token that is ${name} signs out: closed, one event, no further request`, async () => {
    const { client: make, ...server } = room();
    await server.do({ faults: { token: 'good' } });
    const out = signedOut();
    const getToken = (reason: string) => (reason === 'expired' ? second : 'bad');
    const client = make({ getToken, timing: quick });
    client.start();
    await until(() => client.connection.getSnapshot().status === 'closed');
    expect(client.connection.getSnapshot().reason).toBe('signed-out');
    expect(out).toHaveBeenCalledOnce();
    const { length } = (await server.do()).seen;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await server.do()).seen).toHaveLength(length);
  });

test('with a cookie a 401 signs out at once, also when it answers another request', async () => {
  const { client: make, ...server } = room();
  await server.do({ notify: { id: 'n', title: 'x' } });
  const out = signedOut();
  const client = make({ timing: quick });
  client.start();
  await until(() => client.notifications.getSnapshot().unreadCount === 1);
  await server.do({ faults: { token: 'none has it' } });
  const result = await client.notifications.markRead('n');
  expect(result).toMatchObject({ ok: false, error: { code: 'signed-out' } });
  expect(client.connection.getSnapshot().reason).toBe('signed-out');
  expect(out).toHaveBeenCalledOnce();
});

test('a ticket is fetched for every request and sent as a parameter', async () => {
  const { client: make, ...server } = room();
  let n = 0;
  const client = make({ getTicket: () => `t${++n}`, timing: quick });
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  await server.do({ drop: true });
  const seen = await until(async () => {
    const all = (await server.do()).seen;
    return all.length > 1 && all;
  });
  expect(seen.map(({ query }) => query.ticket)).toEqual(['t1', 't2']);
});

test('403 for any other reason closes for good', async () => {
  const { client: make, ...server } = room();
  await server.do({ faults: { stream: 403, problem: 'scope_missing' } });
  const client = make({ timing: quick });
  client.start();
  await until(() => client.connection.getSnapshot().status === 'closed');
  expect(client.connection.getSnapshot()).toMatchObject({
    reason: 'forbidden',
    error: { problem: 'scope_missing' },
  });
});

test('shouldRetry may end it; a token source that fails is a fault like any other', async () => {
  const { client: make } = room();
  const shouldRetry = vi.fn((_: unknown, attempt: number) => attempt < 3);
  const getToken = async () => {
    throw new TypeError('offline');
  };
  const client = make({ getToken, timing: quick, shouldRetry });
  client.start();
  await until(() => client.connection.getSnapshot().reason === 'rejected');
  expect(shouldRetry).toHaveBeenCalledTimes(3);
});
