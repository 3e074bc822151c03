import * as React from 'react';
import { createElement, StrictMode, useState } from 'react';
import { createRoot, hydrateRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Client } from '../../src/core/types.ts';
import {
  MilepostProvider,
  type UseJobProgress,
  type UseJobProgressOptions,
  useConnection,
  useJobProgress,
  useJobs,
  useMilepost,
} from '../../src/react/index.ts';
import { aWhile, show, strict } from '../fixture/react.tsx';
import { room, until } from '../fixture/room.ts';

strict();

const quick = { timing: { backoff: [10], idleBackoff: [10] } };

/** What a hook has said to a component, drawing by drawing. */
class Log {
  readonly all: UseJobProgress[] = [];
  readonly told: (readonly [string, unknown])[] = [];
  client: Client | undefined;

  get now(): UseJobProgress {
    return this.all.at(-1) as UseJobProgress;
  }

  /** New functions each time. */
  get callbacks(): UseJobProgressOptions {
    return {
      onProgress: ({ current }) => this.told.push(['progress', current]),
      onComplete: ({ attempt }) => this.told.push(['complete', attempt]),
      onFailed: ({ state }) => this.told.push(['failed', state]),
      onError: (problem) => this.told.push(['error', problem]),
    };
  }
}

function Follow({
  id,
  log,
  ...options
}: { id: string | null | undefined; log: Log } & UseJobProgressOptions) {
  log.client = useMilepost();
  const now = useJobProgress(id, { ...log.callbacks, ...options });
  log.all.push(now);
  return <p>{now.progressPercent}</p>;
}

function SignIn({ url, log }: { url: string; log: Log }) {
  const [token, setToken] = useState('');
  return (
    <MilepostProvider baseUrl={url} storage="memory" getToken={() => token || null}>
      {token ? (
        <Follow id="a" log={log} />
      ) : (
        <button type="button" onClick={() => setToken('good')}>
          Sign in
        </button>
      )}
    </MilepostProvider>
  );
}

function All() {
  return (
    <p>
      {useConnection().status} {useJobs().length} {useJobProgress('a').progressPercent ?? 'none'}
    </p>
  );
}

const streams = async (server: Pick<ReturnType<typeof room>, 'do'>) =>
  (await server.do()).seen.filter(({ path }) => path === '/stream').length;

describe('the connection', () => {
  test('StrictMode’s double effects open one, and leave none behind', async () => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
    const shown = show({ baseUrl: url }, <Follow id="a" log={log} />);
    await until(() => log.now?.progressPercent === 25);
    await aWhile();
    expect(await streams(server)).toBe(1);
    expect((await server.do()).streams).toBe(1);
    shown.leave();
    await until(async () => (await server.do()).streams === 0);
    await aWhile();
    expect(await streams(server)).toBe(1);
    expect(log.client?.connection.getSnapshot().status).toBe('closed');
  });

  test('there is none before a job is to be followed: not without an id, not before connect()', async () => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
    const shown = show({ baseUrl: url }, <Follow id={null} log={log} />);
    await until(() => log.now);
    expect(log.now).toMatchObject({
      ...{ progress: null, progressPercent: null, error: null, errorCode: null },
      ...{ isProcessing: false, isComplete: false, isFailed: false, connectionStatus: 'idle' },
    });
    shown.show(<Follow id="a" log={log} autoConnect={false} />);
    await aWhile();
    expect(log.now).toMatchObject({ isProcessing: false, connectionStatus: 'idle' });
    expect((await server.do()).seen).toEqual([]);
    log.now.connect();
    await until(() => log.now.progressPercent === 25);
    expect(log.now).toMatchObject({ isProcessing: true, connectionStatus: 'connected' });
    expect(await streams(server)).toBe(1);
  });

  test('a client of the page’s own is used, and stays when the provider leaves', async () => {
    const { url, client: make, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
    const client = make();
    const root = createRoot(document.createElement('div'));
    root.render(
      <StrictMode>
        <MilepostProvider client={client}>
          <Follow id="a" log={log} />
        </MilepostProvider>
      </StrictMode>,
    );
    await until(() => log.now?.progressPercent === 25);
    expect(log.client).toBe(client);
    root.unmount();
    await aWhile();
    expect(client.connection.getSnapshot().status).toBe('connected');
    expect(client.job('a').getSnapshot().tracked).toBe(false);
  });

  test('of an option that is a function it is the newest that is called', async () => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
    const target = document.body.appendChild(document.createElement('div'));
    const root = createRoot(target);
    onTestFinished(() => {
      root.unmount();
      target.remove();
    });
    root.render(
      <StrictMode>
        <SignIn url={url} log={log} />
      </StrictMode>,
    );
    (await until(() => target.querySelector('button'))).click();
    await until(() => log.now?.progressPercent === 25);
    const { seen } = await server.do();
    expect(new Set(seen.map(({ authorization }) => authorization))).toEqual(
      new Set(['Bearer good']),
    );
  });

  // What React 18 does not have.
  if ('Activity' in React)
    test('what is hidden in an <Activity> disconnects, and comes back with the present state', async () => {
      const { url, ...server } = room();
      const log = new Log();
      const Activity = React.Activity;
      await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
      const root = createRoot(document.createElement('div'));
      onTestFinished(() => root.unmount());
      const draw = (mode: 'visible' | 'hidden') =>
        root.render(
          <StrictMode>
            <Activity mode={mode}>
              <MilepostProvider baseUrl={url} storage="memory">
                <Follow id="a" log={log} />
              </MilepostProvider>
            </Activity>
          </StrictMode>,
        );
      draw('visible');
      await until(() => log.now?.progressPercent === 25);
      draw('hidden');
      await until(async () => (await server.do()).streams === 0);
      await server.do({ put: { id: 'a', current: 2 } });
      draw('visible');
      await until(() => log.now.progressPercent === 50);
      expect((await server.do()).streams).toBe(1);
    });
});

describe('a job', () => {
  test('from its first state to its end, each told once, however often the page is drawn', async () => {
    const { url, ...server } = room();
    const log = new Log();
    const shown = show({ baseUrl: url }, <Follow id="a" log={log} />);
    await until(() => log.now?.connectionStatus === 'connected');
    expect(log.now).toMatchObject({ progress: null, isProcessing: true });
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: null } });
    await until(() => log.now.progress?.current === 1);
    expect(log.now).toMatchObject({ progressPercent: null, isProcessing: true });
    for (let n = 0; n < 5; n++) shown.show(<Follow id="a" log={log} />);
    await server.do({ put: { id: 'a', current: 2, total: 4 } });
    await until(() => log.now.progressPercent === 50);
    await server.do({ put: { id: 'a', state: 'completed', current: 4, output_url: '/out' } });
    await until(() => log.now.isComplete);
    expect(log.now).toMatchObject({
      ...{ progressPercent: 100, error: null, errorCode: null, isProcessing: false },
      ...{ isFailed: false, connectionStatus: 'closed', progress: { output_url: '/out' } },
    });
    for (let n = 0; n < 5; n++) shown.show(<Follow id="a" log={log} />);
    await until(() => !log.client?.job('a').getSnapshot().tracked);
    await aWhile();
    expect(log.told).toEqual([
      ['progress', 1],
      ['progress', 2],
      ['complete', 1],
    ]);
    expect(log.all.length).toBeLessThan(80);
  });

  test.each([
    [
      { state: 'failed', error: { code: 'TEMPLATE_ERROR', message: 'no such field' } },
      { code: 'TEMPLATE_ERROR', message: 'no such field' },
    ],
    [
      { state: 'failed', error: { code: 'E7', message: '' } },
      { code: 'E7', message: 'E7' },
    ],
    [
      { state: 'cancelled', message: 'by hand' },
      { code: 'CANCELLED', message: 'by hand' },
    ],
  ])('that ends badly: %j', async (end, problem) => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', ...end } });
    show({ baseUrl: url }, <Follow id="a" log={log} />);
    await until(() => log.now?.isFailed);
    const { code: errorCode, message: error } = problem;
    expect(log.now).toMatchObject({ error, errorCode, isProcessing: false, isComplete: false });
    await until(() => log.told.length === 2);
    expect(log.told).toEqual([
      ['failed', end.state],
      ['error', problem],
    ]);
  });

  test('that is taken away has failed; it is followed again when it is back', async () => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', state: 'running' } });
    show({ baseUrl: url }, <Follow id="a" log={log} />);
    await until(() => log.now?.progress);
    await server.do({ gone: { type: 'job', id: 'a' } });
    await until(() => log.now.isFailed);
    expect(log.now).toMatchObject({
      progress: null,
      errorCode: 'NOT_FOUND',
      error: 'Not available',
    });
    await server.do({ put: { id: 'a', state: 'running', current: 3 } });
    await until(() => log.now.isProcessing);
    expect(log.now).toMatchObject({ error: null, progress: { current: 3 } });
  });

  test('that runs again is followed again, and its second end is told', async () => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', state: 'completed', attempt: 1 } });
    show({ baseUrl: url }, <Follow id="a" log={log} />);
    await until(() => log.now?.isComplete);
    await server.do({ put: { id: 'a', state: 'running', attempt: 2, current: 1 } });
    await until(() => log.now.connectionStatus === 'connected');
    expect(log.now).toMatchObject({ isProcessing: true, isComplete: false });
    await until(() => log.client?.job('a').getSnapshot().tracked);
    await server.do({ put: { id: 'a', state: 'failed', attempt: 2, error: null } });
    await until(() => log.now.isFailed);
    await until(() => log.told.length === 4);
    expect(log.told.map(([name]) => name)).toEqual([
      ...['complete', 'progress', 'failed', 'error'],
    ]);
  });

  test('another id is another job: the one before is let go of, and says nothing any more', async () => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do(
      { put: { id: 'a', state: 'running', current: 1, total: 4 } },
      { put: { id: 'b', state: 'running', current: 2, total: 4 } },
    );
    const shown = show({ baseUrl: url }, <Follow id="a" log={log} />);
    await until(() => log.now?.progressPercent === 25);
    shown.show(<Follow id="b" log={log} />);
    await until(() => log.now.progressPercent === 50);
    expect(log.client?.job('a').getSnapshot().tracked).toBe(false);
    await server.do({ put: { id: 'a', state: 'completed' } });
    await server.do({ put: { id: 'b', current: 3 } });
    await until(() => log.now.progressPercent === 75);
    shown.show(<Follow id={undefined} log={log} />);
    await until(() => log.now.connectionStatus === 'idle');
    expect(log.told).toEqual([
      ['progress', 1],
      ['progress', 2],
      ['progress', 3],
    ]);
    expect(await streams(server)).toBe(1);
  });

  test('disconnect() lets go of it, connect() follows it again, and what ended stays told', async () => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
    show({ baseUrl: url }, <Follow id="a" log={log} />);
    await until(() => log.now?.progressPercent === 25);
    log.now.disconnect();
    await until(() => log.now.connectionStatus === 'closed');
    expect(log.client?.job('a').getSnapshot().tracked).toBe(false);
    await server.do({ put: { id: 'a', state: 'completed', current: 4 } });
    await until(() => log.now.isComplete);
    await aWhile();
    expect(log.told).toEqual([['progress', 1]]);
    for (let n = 0; n < 2; n++) {
      log.now.connect();
      await until(() => log.told.length === 2);
      log.now.disconnect();
      await aWhile();
    }
    expect(log.told).toEqual([
      ['progress', 1],
      ['complete', 1],
    ]);
  });

  test('of two hooks on one job each is told, and the one that stays goes on', async () => {
    const { url, ...server } = room();
    const [one, two] = [new Log(), new Log()];
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
    const shown = show(
      { baseUrl: url },
      <>
        <Follow key="one" id="a" log={one} />
        <Follow key="two" id="a" log={two} />
      </>,
    );
    await until(() => one.told.length && two.told.length);
    shown.show(<Follow key="one" id="a" log={one} />);
    await server.do({ put: { id: 'a', state: 'completed', current: 4 } });
    await until(() => one.told.length === 2);
    expect(one.now.isComplete).toBe(true);
    expect(two.told).toEqual([['progress', 1]]);
    expect(await streams(server)).toBe(1);
  });
});

describe('a connection that is lost', () => {
  test('what was known stays, the hook says so, and goes on where it was', async () => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
    show({ baseUrl: url, ...quick }, <Follow id="a" log={log} />);
    await until(() => log.now?.progressPercent === 25);
    await server.do({ faults: { stream: 503, changes: 503 } }, { drop: true });
    await until(() => log.now.connectionStatus === 'reconnecting');
    expect(log.now).toMatchObject({ progressPercent: 25, isProcessing: true, error: null });
    await server.do({ faults: {} }, { put: { id: 'a', current: 2 } });
    await until(() => log.now.progressPercent === 50);
    expect(log.now.connectionStatus).toBe('connected');
    expect(log.told).toEqual([
      ['progress', 1],
      ['progress', 2],
    ]);
  });

  test('for long is an error, told once; it goes when there is a connection again', async () => {
    const { url, ...server } = room();
    const log = new Log();
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
    const timing = { ...quick.timing, lost: 300 };
    show({ baseUrl: url, transports: ['sse'], timing }, <Follow id="a" log={log} />);
    for (let n = 1; n < 3; n++) {
      await until(() => log.now?.connectionStatus === 'connected');
      await server.do({ faults: { stream: 503 } }, { drop: true });
      await until(() => log.now.errorCode === 'STREAM_DISCONNECTED');
      expect(log.now).toMatchObject({ connectionStatus: 'error', isFailed: false });
      await aWhile();
      await server.do({ faults: {} });
      await until(() => log.now.error === null);
      expect(log.told).toHaveLength(1 + n);
    }
  });

  test('retry() does not wait for the next attempt', async () => {
    const { url, ...server } = room();
    const log = new Log();
    const day = [86_400_000];
    await server.do({ put: { id: 'a', state: 'running' } }, { faults: { stream: 503 } });
    show({ baseUrl: url, timing: { backoff: day, idleBackoff: day } }, <Follow id="a" log={log} />);
    await until(() => log.now?.connectionStatus === 'reconnecting');
    await server.do({ faults: {} });
    log.now.retry();
    await until(() => log.now.connectionStatus === 'connected');
  });

  test('signed out: closed, and an error', async () => {
    const { url } = room();
    const log = new Log();
    show({ baseUrl: url, getToken: () => null }, <Follow id="a" log={log} />);
    await until(() => log.now?.connectionStatus === 'closed');
    expect(log.now).toMatchObject({ errorCode: 'STREAM_DISCONNECTED', isFailed: false });
    await until(() => log.told.length === 1);
  });
});

describe('rendered on a server', () => {
  test('it is what the page has before it knows anything, also where the page knows already', async () => {
    const { url, client: make, ...server } = room();
    await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
    const app = (props: { client: Client } | { baseUrl: string; storage: 'memory' }) => (
      <MilepostProvider {...props}>
        <All />
      </MilepostProvider>
    );
    const html = renderToString(app({ baseUrl: url, storage: 'memory' }));
    expect((await server.do()).seen).toEqual([]);
    const client = make();
    client.start();
    await until(() => client.job('a').getSnapshot().percent);
    const target = document.createElement('div');
    target.innerHTML = html;
    expect(target.textContent).toBe('idle 0 none');
    const before = target.querySelector('p');
    // Whatever does not fit is said on the console.
    const root = hydrateRoot(target, app({ client }));
    onTestFinished(() => root.unmount());
    await until(() => target.textContent === 'connected 1 25');
    expect(target.querySelector('p')).toBe(before);
  });

  test('without a provider it says what is missing', () => {
    const naked = () => renderToString(createElement(All));
    expect(naked).toThrow('MilepostProvider');
  });
});
