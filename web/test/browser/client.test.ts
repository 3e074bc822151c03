import { expect, test, vi } from 'vitest';
import { createClient } from '../../src/core/client.ts';
import type { AppNotification, JobSnapshot } from '../../src/core/types.ts';
import { memoryStorage } from '../../src/storage/storage.ts';
import { baseOf } from '../../src/transport/http.ts';
import { page, room, until } from '../fixture/room.ts';

const quick = { backoff: [10], idleBackoff: [10] };
const frames = () => new Promise((resolve) => setTimeout(resolve, 150));

test('a job put on the server reaches the page, and its end settles it', async () => {
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'a', title: 'Set', state: 'running', current: 1, total: 4 } });
  const client = make();
  const settled = client.job('a').settled();
  const told = vi.fn();
  client.on('job.settled', told);
  client.job('a').track();
  client.start();
  await until(() => client.job('a').getSnapshot().current === 1);
  expect(client.connection.getSnapshot().status).toBe('connected');
  await server.do({ put: { id: 'a', state: 'completed', current: 4, output_url: '/out' } });
  expect(await settled).toMatchObject({ state: 'completed', output_url: '/out', total: 4 });
  expect(told).toHaveBeenCalledOnce();
});

test('the same revision again, or an older one, tells nobody', async () => {
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'a', state: 'running', current: 5 } });
  const client = make();
  client.start();
  await until(() => client.job('a').getSnapshot().current === 5);
  await frames();
  const [one, all] = [vi.fn(), vi.fn()];
  client.job('a').subscribe(one);
  client.jobs.subscribe(all);
  const before = client.job('a').getSnapshot();
  const frame = (rev: number) =>
    `event: job\ndata: {"job":{"id":"a","rev":${rev},"current":9}}\n\n`;
  await server.do({ raw: frame(1) + frame(1) + frame(0) });
  await frames();
  expect(client.job('a').getSnapshot()).toBe(before);
  expect(one).not.toHaveBeenCalled();
  expect(all).not.toHaveBeenCalled();
});

test('a burst is told once per frame, and the last state is the one that is told', async () => {
  const { client: make, ...server } = room();
  const client = make();
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  const seen: JobSnapshot[] = [];
  client.on('job.updated', (job) => seen.push(job));
  await server.do(...Array.from({ length: 500 }, (_, n) => ({ put: { id: 'a', current: n } })));
  await until(() => seen.at(-1)?.current === 499);
  expect(seen.length).toBeLessThan(60);
});

test('a tracked job comes back after a reload, stale at first, and goes on', async () => {
  const { client: make, ...server } = room();
  const storage = memoryStorage();
  await server.do({ put: { id: 'a', state: 'running', current: 3, total: 6 } });
  const before = make({ storage });
  before.job('a').track();
  before.start();
  await until(() => before.job('a').getSnapshot().current === 3);
  before.close();

  const after = make({ storage });
  after.start();
  expect(after.job('a').getSnapshot()).toMatchObject({
    ...{ tracked: true, stale: true, state: 'running', current: 3, total: 6, percent: 50 },
  });
  await until(() => !after.job('a').getSnapshot().stale);
  await server.do({ put: { id: 'a', current: 4 } });
  await until(() => after.job('a').getSnapshot().current === 4);
});

test('a job may be tracked before it exists; the page learns of it when it does', async () => {
  const { client: make, ...server } = room();
  const client = make();
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  client.job('later').track();
  await until(async () => (await server.do()).seen.some(({ path }) => path === '/jobs/later'));
  expect(client.job('later').getSnapshot().state).toBe('unknown');
  await server.do({ put: { id: 'later', state: 'running' } });
  await until(() => client.job('later').getSnapshot().state === 'running');
});

test('letting go of a job, as often as it was asked for, forgets it', async () => {
  const { client: make, ...server } = room();
  const storage = memoryStorage();
  await server.do({ put: { id: 'a', state: 'running', current: 3 } });
  const client = make({ storage });
  const [one, two] = [client.job('a').track(), client.job('a').track()];
  client.start();
  await until(() => client.job('a').getSnapshot().current === 3);
  one();
  one();
  expect(client.job('a').getSnapshot().tracked).toBe(true);
  two();
  expect(client.job('a').getSnapshot().tracked).toBe(false);
  expect(storage.getItem('milepost:1:default:jobs')).toBeNull();
});

test('a new attempt starts over, and its end is told again', async () => {
  const { client: make, ...server } = room();
  const client = make();
  const ends: number[] = [];
  client.on('job.settled', ({ attempt }) => ends.push(attempt));
  client.job('a').track();
  client.start();
  await server.do({ put: { id: 'a', state: 'completed', attempt: 1, current: 9 } });
  await until(() => ends.length === 1);
  await server.do({ put: { id: 'a', state: 'running', attempt: 2, current: 0 } });
  await until(() => client.job('a').getSnapshot().state === 'running');
  expect(client.job('a').getSnapshot().current).toBe(0);
  await server.do({ put: { id: 'a', state: 'failed', attempt: 2 } });
  await until(() => ends.length === 2);
  expect(ends).toEqual([1, 2]);
});

test('a job that is taken away is gone, and an older copy does not bring it back', async () => {
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'a', state: 'running' } });
  const client = make();
  client.job('a').track();
  client.start();
  await until(() => client.job('a').getSnapshot().state === 'running');
  await server.do({ gone: { type: 'job', id: 'a' } });
  await until(() => client.job('a').getSnapshot().state === 'gone');
  await server.do({ raw: 'event: job\ndata: {"job":{"id":"a","rev":1,"state":"running"}}\n\n' });
  await frames();
  expect(client.job('a').getSnapshot().state).toBe('gone');
});

test('a lost history: everything is read again, lower revisions count, what is missing goes', async () => {
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'old', current: 1 } }, { notify: { id: 'n', title: 'x' } });
  for (let n = 0; n < 5; n++) await server.do({ put: { id: 'a', state: 'running', current: n } });
  const client = make({ timing: quick });
  const resynced = vi.fn();
  const fresh = vi.fn();
  client.on('resynced', resynced);
  client.on('notification.created', fresh);
  client.start();
  await until(() => client.job('a').getSnapshot().rev === 7);
  await server.do({ wipe: true }, { put: { id: 'a', current: 9 } });
  await until(() => resynced.mock.calls.length);
  expect(resynced).toHaveBeenCalledWith({ reason: 'epoch' });
  expect(client.job('a').getSnapshot().current).toBe(9);
  expect(client.notifications.getSnapshot().items).toEqual([]);
  expect(fresh).not.toHaveBeenCalled();
});

test('news is what comes after the first look; after a reload also what came in between', async () => {
  const { client: make, ...server } = room();
  const storage = memoryStorage();
  await server.do({ notify: { id: 'old', title: 'Old' } });
  const heard: string[] = [];
  const open = () => {
    const client = make({ storage, timing: quick });
    client.on('notification.created', ({ id }: AppNotification) => heard.push(id));
    client.start();
    return client;
  };
  const first = open();
  await until(() => first.notifications.getSnapshot().items.length === 1);
  await server.do({ notify: { id: 'live', title: 'Live' } });
  await until(() => heard.length === 1);
  // Its read mark is not news.
  await first.notifications.markRead('live');
  await frames();
  first.close();
  await server.do({ notify: { id: 'between', title: 'Between' } });
  const second = open();
  await until(() => second.notifications.getSnapshot().items.length === 3);
  await frames();
  expect(heard).toEqual(['live', 'between']);
});

test('several reasons to pause overlap; the last one to go resumes', async () => {
  const { client: make } = room();
  const client = make({ timing: quick, env: { lifecycle: page() } });
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  const [one, two] = [client.pause('modal'), client.pause('test')];
  expect(client.connection.getSnapshot()).toMatchObject({
    status: 'idle',
    paused: ['modal', 'test'],
  });
  one();
  one();
  expect(client.connection.getSnapshot().status).toBe('idle');
  two();
  await until(() => client.connection.getSnapshot().status === 'connected');
});

test('closing frees the socket; forgetting also wipes what was stored', async () => {
  const { client: make, ...server } = room();
  const storage = memoryStorage();
  await server.do({ put: { id: 'a', current: 1 } });
  const client = make({ storage });
  client.job('a').track();
  client.start();
  await until(() => client.job('a').getSnapshot().current === 1);
  client.close({ forget: true });
  await until(async () => (await server.do()).streams === 0);
  expect(storage.getItem('milepost:1:default:cursor')).toBeNull();
  expect(storage.getItem('milepost:1:default:jobs')).toBeNull();
});

test('cancel asks the server; the answer is a result, never an exception', async () => {
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'a:b', state: 'running' } });
  const client = make();
  client.start();
  expect(await client.job('a:b').cancel('enough')).toEqual({ ok: true });
  await until(() => client.job('a:b').getSnapshot().state === 'cancelled');
  await server.do({ faults: { post: 409, problem: 'job_ended' } });
  const again = await client.job('a:b').cancel();
  expect(again).toMatchObject({ ok: false, error: { status: 409, problem: 'job_ended' } });
});

test('debug says what happens, without URLs or tokens', async () => {
  const said = vi.spyOn(console, 'debug').mockImplementation(() => {});
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'a', state: 'running' } });
  const client = make({ debug: true, getToken: () => 'hush' });
  client.start();
  await until(() => client.job('a').getSnapshot().state === 'running');
  await server.do({ put: { id: 'a', state: 'completed' } });
  await until(() => said.mock.calls.some(([what]) => String(what).includes('completed')));
  const text = JSON.stringify(said.mock.calls);
  for (const word of ['connecting', 'opened', 'progress']) expect(text).toContain(word);
  expect(text).not.toMatch(/hush|http/);
  said.mockRestore();
});

test('without a base URL the server is at the root of the page’s origin', async () => {
  const asked: string[] = [];
  const fetch = async (url: unknown) => {
    asked.push(String(url));
    return new Response(null, { status: 503 });
  };
  const client = createClient({ storage: 'memory', env: { fetch } });
  client.start();
  await until(() => asked.length > 0);
  client.close();
  expect(asked[0]).toBe(`${location.origin}/api/stream?dialect=milepost`);
});

test('a base URL is an origin and a mount, however it is written', () => {
  const page = 'https://app.example/dash/board?x';
  for (const [given, base] of [
    ['/', 'https://app.example/'],
    ['/live/', 'https://app.example/live/'],
    ['/live/api', 'https://app.example/live/'],
    ['https://live.example/api/', 'https://live.example/'],
    ['https://live.example/x/api', 'https://live.example/x/'],
  ] as const)
    expect(baseOf(given, page)).toBe(base);
});
