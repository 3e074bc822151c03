import { expect, onTestFinished, test } from 'vitest';
import {
  clearJobState,
  getActiveJobs,
  getJobState,
  JobProgressStream,
  ProgressToast,
  SSEClient,
  saveJobState,
  useEnrichmentSSE,
} from '../../src/legacy/index.ts';
import { room, until } from '../fixture/room.ts';
import { clean, styled } from '../fixture/style.ts';

const toast = () => document.querySelector<HTMLElement>('.milepost-toast:not([data-leaving])');

test('D: JobProgressStream tells progress, and the end once, in D’s words', async () => {
  const { client, ...server } = room();
  const told: unknown[] = [];
  const tell = (name: string) => (data: unknown) => told.push([name, data]);
  const handlers = { onProgress: tell('progress'), onComplete: tell('complete') };
  const stream = new JobProgressStream('a', handlers, { baseUrl: server.url });
  onTestFinished(() => stream.close());
  await server.do({
    put: { id: 'a', state: 'running', current: 1, total: null, message: 'Reading' },
  });
  stream.connect();
  stream.connect();
  await until(() => told.length === 1);
  await server.do({
    put: { id: 'a', state: 'running', current: 5, total: 32, message: 'Writing' },
  });
  await until(() => told.length === 2);
  await server.do({ put: { id: 'a', state: 'completed', current: 32, output_url: '/out.zip' } });
  await until(() => told.length === 3);
  expect(told).toEqual([
    ['progress', { jobId: 'a', current: 1, total: null, message: 'Reading' }],
    ['progress', { jobId: 'a', current: 5, total: 32, message: 'Writing' }],
    ['complete', { jobId: 'a', total: 32, outputUrl: '/out.zip' }],
  ]);
  await until(async () => (await server.do()).streams === 0);
});

test('D: an error of a job, through a client that the page has already', async () => {
  const { client: make, ...server } = room();
  const client = make();
  const told: unknown[] = [];
  await server.do({
    put: { id: 'a', state: 'failed', error: { code: 'TEMPLATE_ERROR', message: 'no such field' } },
  });
  new JobProgressStream('a', { onError: (data) => told.push(data) }, { client }).connect();
  await until(() => told.length);
  expect(told).toEqual([{ jobId: 'a', code: 'TEMPLATE_ERROR', message: 'no such field' }]);
  expect(client.connection.getSnapshot().status).toBe('connected');
});

test('T: SSEClient is open while the job runs, and closed when it has ended', async () => {
  const { client, ...server } = room();
  const told: unknown[] = [];
  await server.do({ put: { id: 'a', state: 'running', current: 1, total: 2, percent: 50 } });
  const source = new SSEClient(
    `${server.url}/api/jobs/a/stream`,
    { onProgress: (data) => told.push(data), onCompleted: (data) => told.push(data) },
    { baseUrl: server.url },
  );
  expect([source.getReadyState(), source.isOpen()]).toEqual([0, false]);
  await until(() => told.length === 1);
  expect([source.getReadyState(), source.isOpen()]).toEqual([1, true]);
  await server.do({ put: { id: 'a', state: 'completed', current: 2, result: { rows: 200 } } });
  await until(() => told.length === 2);
  expect(told).toEqual([
    { status: 'running', progress: 50 },
    { status: 'completed', result: { rows: 200 } },
  ]);
  expect([source.getReadyState(), source.isOpen()]).toEqual([2, false]);
});

test.each([
  [
    { code: 'E', message: 'no date', details: 'line 7' },
    'failed',
    { error: 'no date', details: 'line 7' },
  ],
  [{ code: 'E', message: '', details: null }, 'failed', { error: 'E' }],
  [null, 'cancelled', { error: 'cancelled' }],
])('T: a failed import in T’s words: %j', async (error, state, expected) => {
  const { client, ...server } = room();
  const told: unknown[] = [];
  await server.do({ put: { id: 'a', state, error } });
  new SSEClient('a', { onFailed: (data) => told.push(data) }, { baseUrl: server.url });
  await until(() => told.length);
  expect(told).toEqual([{ status: 'failed', ...expected }]);
});

test('T: closed by hand it tells nothing more', async () => {
  const { client, ...server } = room();
  const source = new SSEClient(
    'a',
    { onProgress: () => expect.unreachable() },
    { baseUrl: server.url },
  );
  source.close();
  source.close();
  await server.do({ put: { id: 'a', state: 'running' } });
  expect(source.getReadyState()).toBe(2);
});

test('D: ProgressToast is one toast: indeterminate, determinate, done with a link, an error that stays', async () => {
  clean();
  styled();
  const shown = new ProgressToast({ title: 'Discovery set', successMs: 50 });
  shown.showProgress({ current: 0, message: 'Reading' });
  const bar = () => toast()?.querySelector('progress');
  expect(bar()?.hasAttribute('value')).toBe(false);
  const first = toast();
  shown.showProgress({ current: 5, total: 32, message: 'Writing' });
  expect(toast()).toBe(first);
  expect([bar()?.value, bar()?.max]).toEqual([5, 32]);
  expect(toast()?.textContent).toContain('5 of 32');
  shown.showSuccess({ outputUrl: 'javascript:alert(1)' });
  expect(toast()?.querySelector('a')).toBeNull();
  shown.showSuccess({ outputUrl: '/out.zip' });
  expect(toast()?.querySelector('a')?.getAttribute('href')).toBe('/out.zip');
  await until(() => !toast());
  shown.showError({ code: 'TEMPLATE_ERROR', message: 'no such field' });
  expect(toast()?.dataset.tone).toBe('error');
  expect(toast()?.textContent).toContain('TEMPLATE_ERROR');
  shown.close();
  await until(() => !toast());
});

test('D: job states are kept for 15 minutes, and whatever else stands in the storage is no error', () => {
  localStorage.clear();
  saveJobState('a', { current: 5 });
  saveJobState('b', { current: 1 });
  saveJobState('b', { current: 2 });
  expect(getActiveJobs()).toEqual(['a', 'b']);
  expect(getJobState('b')).toEqual({ current: 2 });
  clearJobState('a');
  expect(getJobState('a')).toBeNull();
  expect(getActiveJobs()).toEqual(['b']);
  const [key = ''] = Object.keys(localStorage);
  const old = { c: { state: {}, at: Date.now() - 16 * 60_000 } };
  for (const odd of [JSON.stringify(old), '{"a":null}', 'rubbish', '7', 'null']) {
    localStorage.setItem(key, odd);
    expect(getActiveJobs()).toEqual([]);
    expect(getJobState('c')).toBeNull();
  }
  localStorage.clear();
});

test('the client asks for its own words, whatever dialect its tenant has', async () => {
  const { client: make, ...server } = room();
  const client = make();
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  await client.notifications.loadOlder();
  const { seen } = await server.do();
  const asked = seen.filter(
    ({ method, path }) => method === 'GET' && /stream|notifications/.test(path),
  );
  expect(asked.map(({ query }) => query.dialect)).toEqual(['milepost', 'milepost']);
});

test('E: useEnrichmentSSE says what it needs where there is no React', () => {
  expect(() => useEnrichmentSSE('bom-7')).toThrow('milepost/react');
});
