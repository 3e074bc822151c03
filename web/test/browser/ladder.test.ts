import { expect, onTestFinished, test, vi } from 'vitest';
import { page, room, until } from '../fixture/room.ts';

/** Real time, but little of it. */
const quick = {
  backoff: [10],
  idleBackoff: [10],
  connect: 2000,
  firstByte: 600,
  poll: 30,
  longPoll: 400,
  probe: 100_000,
  notice: 50,
  lost: 100_000,
};

for (const fault of ['mute', 'html', 'empty', 'hang'] as const)
  test(`a stream that is ${fault} is given up for long polls after three strikes`, async () => {
    const { client: make, ...server } = room();
    await server.do({ faults: { stream: fault } }, { put: { id: 'a', current: 1 } });
    const client = make({ timing: { ...quick, longPoll: 20_000 } });
    client.start();
    await until(() => client.connection.getSnapshot().status === 'polling');
    expect(client.connection.getSnapshot().transport).toBe('long-poll');
    expect(client.jobs.getSnapshot()).toMatchObject([{ id: 'a', current: 1 }]);
    const { seen } = await server.do();
    expect(seen.filter(({ path }) => path === '/stream')).toHaveLength(3);

    const told = performance.now();
    await server.do({ put: { id: 'a', current: 2 } });
    await until(() => client.job('a').getSnapshot().current === 2);
    // The long poll was answered, not waited out.
    expect(performance.now() - told).toBeLessThan(10_000);
  });

test('where only plain polls work, they go on at their interval, one at a time', async () => {
  const { client: make, ...server } = room();
  await server.do({ faults: { stream: 403, problem: 'streaming_disabled' } });
  await server.do({ config: { transports: ['poll'] } });
  const client = make({ timing: quick });
  client.start();
  await until(() => client.connection.getSnapshot().transport === 'poll');
  await server.do({ put: { id: 'a', state: 'running', current: 1 } });
  await until(() => client.job('a').getSnapshot().current === 1);
  const { seen } = await server.do();
  expect(seen.filter(({ path }) => path === '/stream')).toHaveLength(1);
  expect(seen.some(({ query }) => query.wait)).toBe(false);
});

test('when streaming works again a probe brings it back, and polling stops', async () => {
  const { client: make, ...server } = room();
  await server.do({ faults: { stream: 'empty' } });
  const client = make({ timing: { ...quick, probe: 150 } });
  client.start();
  await until(() => client.connection.getSnapshot().status === 'polling');
  await server.do({ faults: {} });
  await until(() => client.connection.getSnapshot().status === 'connected');
  const polls = async () =>
    (await server.do()).seen.filter(({ path }) => path === '/changes').length;
  const before = await polls();
  await server.do({ put: { id: 'a', current: 1 } }, { put: { id: 'a', current: 2 } });
  await until(() => client.job('a').getSnapshot().current === 2);
  expect(await polls()).toBe(before);
});

test('all rungs share one cursor: a switch loses nothing and reads nothing twice', async () => {
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'a', current: 1 } });
  const client = make({ timing: quick });
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  await until(() => client.job('a').getSnapshot().current === 1);
  await server.do(
    { faults: { stream: 'empty' } },
    { drop: true },
    { put: { id: 'b', current: 7 } },
  );
  await until(() => client.job('b').getSnapshot().current === 7);
  const { seen } = await server.do();
  const first = seen.find(({ path }) => path === '/changes');
  expect(first?.query.after).toBe('e1.1.tag');
});

test('a stream without a byte for too long is replaced, with the cursor and the reason', async () => {
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'a', current: 1 } });
  const client = make({ timing: { ...quick, silence: 120 } });
  client.start();
  const again = await until(
    async () => (await server.do()).seen.filter((r) => r.path === '/stream')[1],
  );
  expect(again.query).toMatchObject({ after: 'e1.1.tag', reason: 'silent', dialect: 'milepost' });
});

test('without a server the notice comes, then the error; both go when one answers', async () => {
  const { client: make, ...server } = room();
  await server.do({ faults: { stream: 503, changes: 503 } });
  const client = make({ timing: { ...quick, lost: 150 } });
  client.start();
  await until(() => client.connection.getSnapshot().notice);
  await until(() => client.connection.getSnapshot().status === 'error');
  await server.do({ faults: {} });
  await until(() => ['connected', 'polling'].includes(client.connection.getSnapshot().status));
  expect(client.connection.getSnapshot()).toMatchObject({ notice: false, error: null });
});

test('a captive portal, which answers everything with its own page, loses nothing that was shown', async () => {
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'a', current: 1 } });
  const client = make({ timing: quick });
  client.start();
  await until(() => client.job('a').getSnapshot().current === 1);
  await server.do({ faults: { stream: 'html', changes: 'html' } }, { drop: true });
  await until(() => client.connection.getSnapshot().transport === 'long-poll');
  await until(() => client.connection.getSnapshot().error?.code === 'protocol');
  expect(client.connection.getSnapshot().status).toBe('reconnecting');
  expect(client.jobs.getSnapshot()).toMatchObject([{ id: 'a', current: 1 }]);
  await server.do({ faults: {} }, { put: { id: 'a', current: 2 } });
  await until(() => client.job('a').getSnapshot().current === 2);
});

test('a device that slept replaces its stream at once; a clock that is set back changes nothing', async () => {
  const { client: make, ...server } = room();
  const lifecycle = page();
  const client = make({ timing: quick, env: { lifecycle } });
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  const now = Date.now.bind(Date);
  const clock = vi.spyOn(Date, 'now');
  onTestFinished(() => clock.mockRestore());
  const streams = async () => (await server.do()).seen.filter(({ path }) => path === '/stream');
  clock.mockImplementation(() => now() - 3_600_000);
  lifecycle.say('visible');
  await server.do({ put: { id: 'a', current: 1 } });
  await until(() => client.job('a').getSnapshot().current === 1);
  expect(await streams()).toHaveLength(1);
  clock.mockImplementation(() => now() + 3_600_000);
  lifecycle.say('visible');
  await until(async () => (await streams()).length === 2);
  expect((await streams())[1]?.query).toMatchObject({ after: 'e1.1.tag', reason: 'silent' });
  await until(() => client.connection.getSnapshot().status === 'connected');
});

test('Retry-After is waited out; retryNow does not wait for it', async () => {
  const { client: make, ...server } = room();
  await server.do({ faults: { stream: 503, retryAfter: 60 } });
  const client = make({ timing: quick });
  client.start();
  await until(() => client.connection.getSnapshot().retryAt);
  const { retryAt, error } = client.connection.getSnapshot();
  expect((retryAt ?? 0) - performance.now()).toBeGreaterThan(55_000);
  expect(error).toMatchObject({ code: 'http', status: 503, retryAfterMs: 60_000 });
  await server.do({ faults: {} });
  client.retryNow();
  await until(() => client.connection.getSnapshot().status === 'connected');
});

test('a hidden page stops polling and catches up when it shows', async () => {
  const { client: make, ...server } = room();
  const lifecycle = page();
  const client = make({ timing: quick, transports: ['poll'], env: { lifecycle } });
  client.start();
  await until(() => client.connection.getSnapshot().status === 'polling');
  lifecycle.say('hidden');
  const count = async () => (await server.do()).seen.length;
  await new Promise((resolve) => setTimeout(resolve, 100));
  const before = await count();
  await server.do({ put: { id: 'a', current: 1 } });
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(await count()).toBe(before);
  lifecycle.say('visible');
  await until(() => client.job('a').getSnapshot().current === 1);
});

test('the stream of a tab that stays hidden is closed, and resumed from its cursor', async () => {
  const { client: make, ...server } = room();
  const lifecycle = page();
  const client = make({ timing: { ...quick, hiddenGrace: 50 }, env: { lifecycle } });
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  lifecycle.say('hidden');
  await until(() => client.connection.getSnapshot().paused.includes('hidden'));
  await until(async () => (await server.do()).streams === 0);
  await server.do({ put: { id: 'a', current: 1 } });
  lifecycle.say('visible');
  await until(() => client.job('a').getSnapshot().current === 1);
});

test('a page that goes into the back/forward cache lets go of its socket and comes back', async () => {
  const { client: make, ...server } = room();
  const lifecycle = page();
  const client = make({ timing: quick, env: { lifecycle } });
  client.start();
  await until(async () => (await server.do()).streams === 1);
  lifecycle.say('leave');
  await until(async () => (await server.do()).streams === 0);
  lifecycle.say('visible');
  await until(() => client.connection.getSnapshot().status === 'connected');
});
