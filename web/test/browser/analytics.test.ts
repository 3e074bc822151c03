import { afterEach, expect, onTestFinished, test } from 'vitest';
import { type AnalyticsOptions, attachAnalytics } from '../../src/analytics/index.ts';
import type { ClientOptions } from '../../src/core/types.ts';
import { shareTabs } from '../../src/share/index.ts';
import { room, until } from '../fixture/room.ts';

interface Report {
  readonly reconnections: Record<string, number>;
  readonly transports: Record<string, number>;
  readonly actions: Record<string, number>;
  readonly delays: readonly number[];
  readonly delay_seconds: number;
}

/** Each state is seen: changes are told once a frame. */
const TIMING = { backoff: [500], idleBackoff: [500], firstByte: 200, probe: 60_000 };
let users = 0;

function show(state: DocumentVisibilityState): void {
  Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
  document.dispatchEvent(new Event('visibilitychange'));
}
afterEach(() => {
  Reflect.deleteProperty(document, 'visibilityState');
});

/** One user's client that is connected, and what the hub is told of it. */
function setup(options: ClientOptions = {}) {
  const hub = room();
  const userKey = `analytics${++users}`;
  const attach = async (more: Partial<AnalyticsOptions> = {}) => {
    const client = hub.client({ timing: TIMING, ...options });
    const url = `${hub.url}/api/client-reports`;
    const detach = attachAnalytics(client, { url, userKey, ...more });
    onTestFinished(detach);
    client.start();
    const states: string[] = [];
    client.on('connection.changed', ({ status }) => states.push(status));
    const heard: string[] = [];
    client.on('notification.created', ({ id }) => heard.push(id));
    await until(() => /connected|polling/.test(states.at(-1) ?? ''));
    await turn();
    return { client, detach, states, heard };
  };
  /** Whether somebody counts. */
  const counting = async () => {
    const { held } = await navigator.locks.query();
    return !!held?.some(({ name }) => name === `milepost:1:${userKey}:analytics`);
  };
  const turn = () => until(counting);
  const reports = async () => (await hub.do()).reports as Report[];
  /** Of all reports, how often. */
  const told = async (what: 'reconnections' | 'transports' | 'actions', name: string) =>
    (await reports()).reduce((sum, report) => sum + (report[what][name] ?? 0), 0);
  const delays = async () =>
    (await reports()).reduce((sum, report) => sum + report.delays.reduce((a, b) => a + b), 0);
  return { hub, attach, counting, turn, reports, told, delays };
}

test('each reconnection is told once, with what ended the connection before', async () => {
  const { hub, attach, told, reports } = setup();
  const { client, states, detach } = await attach();
  const changes = async (...expected: string[]) => {
    await until(() => states.slice(-expected.length).join() === expected.join());
    states.length = 0;
  };
  await changes('connected');
  for (const drop of [true, true, { reason: 'shutdown', retry_ms: 500 }] as const) {
    await hub.do({ drop });
    await changes('reconnecting', 'connected');
  }
  // Nobody has lost anything here.
  const resume = client.pause();
  await changes('idle');
  resume();
  await changes('connected');
  detach();
  await until(() => told('reconnections', 'shutdown'));
  expect(await told('reconnections', 'network')).toBe(2);
  expect((await reports()).map(({ reconnections }) => reconnections)).toEqual([
    { network: 2, shutdown: 1 },
  ]);
});

test('another transport is told when it works', async () => {
  const { hub, attach, told } = setup();
  await hub.do({ faults: { stream: 'mute' } });
  const { client, detach } = await attach();
  expect(client.connection.getSnapshot().transport).toBe('long-poll');
  detach();
  await until(() => told('transports', 'long-poll'));
  expect(await told('transports', 'sse')).toBe(0);
});

test("a document's way to the screen is measured by the hub's clock, and once", async () => {
  const { hub, attach, delays, reports } = setup();
  const aheadMs = 3_600_000;
  const time = (agoMs = 0) => new Date(Date.now() + aheadMs - agoMs).toISOString();
  await hub.do({ faults: { aheadMs } }, { put: { id: 'secret-id', updated_at: time(60_000) } });
  const { client } = await attach({ everyMs: 1000 });
  await until(async () => (await reports()).length);
  await hub.do({ put: { id: 'secret-id', current: 1, updated_at: time() } });
  await until(() => client.job('secret-id').getSnapshot().current === 1);
  await hub.do({ notify: { id: 'secret-note', created_at: time() } });
  await until(() => client.notifications.getSnapshot().items.length);
  // Told again without any news of the hub's.
  client.job('secret-id').track()();
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  await until(async () => (await delays()) > 1, 30_000);
  show('hidden');
  const all = await reports();
  expect(await delays()).toBe(2);
  expect(all.reduce((sum, { delay_seconds }) => sum + delay_seconds, 0)).toBeLessThan(20);
  expect(JSON.stringify(all)).not.toContain('secret');
});

test('of two tabs one counts; when it is hidden it reports, and the other one counts', async () => {
  const { hub, attach, turn, told } = setup();
  const tabs = [await attach(), await attach()];
  const news = async (id: string) => {
    await hub.do({ notify: { id } });
    await until(() => tabs.every(({ heard }) => heard.includes(id)));
  };
  await news('n1');
  show('hidden');
  await until(() => told('actions', 'notified'));
  // Nobody looks.
  await news('n2');
  show('visible');
  await turn();
  await news('n3');
  show('hidden');
  await until(async () => (await told('actions', 'notified')) > 1);
  expect(await told('actions', 'notified')).toBe(2);
});

test('tabs that share a connection report its loss once', async () => {
  const shared = { share: shareTabs, userKey: `shared${Math.random()}` };
  const { hub, attach, told, reports } = setup(shared);
  const tabs = [await attach(), await attach()];
  expect((await hub.do({ drop: true })).streams).toBe(0);
  const again = /reconnecting.*connected$/;
  await until(() => tabs.every(({ states }) => again.test(states.join())));
  for (const { detach } of tabs) detach();
  await until(() => told('reconnections', 'network'));
  expect((await reports()).length).toBe(1);
});

test('what a person does is counted, as little as possible of it', async () => {
  const { attach, reports, told } = setup();
  const { detach } = await attach();
  const page = document.createElement('div');
  page.innerHTML =
    '<div class="milepost-actions"><a href="#x">Open</a><button>Retry</button></div>' +
    '<button class="milepost-bell" aria-expanded="false"><i>Bell</i></button><p>Else</p>';
  document.body.append(page);
  onTestFinished(() => page.remove());
  const bell = page.querySelector('.milepost-bell') as HTMLElement;
  bell.onclick = () => bell.setAttribute('aria-expanded', `${bell.ariaExpanded === 'false'}`);
  const clickOn = (what: string) => (page.querySelector(what) as HTMLElement).click();
  clickOn('a');
  clickOn('.milepost-actions button');
  clickOn('i');
  clickOn('i');
  clickOn('p');
  detach();
  await until(() => told('actions', 'inbox_opened'));
  expect((await reports()).map(({ actions }) => actions)).toEqual([
    { toast_clicked: 1, inbox_opened: 1 },
  ]);
});

test('a hub that wants no reports gets no other', async () => {
  const { hub, attach, counting, reports } = setup();
  await hub.do({ faults: { post: 404 } });
  const { heard } = await attach({ everyMs: 20 });
  await hub.do({ notify: { id: 'n1' } });
  await until(async () => !(await counting()));
  await hub.do({ faults: {} }, { notify: { id: 'n2' } });
  await until(() => heard.includes('n2'));
  show('hidden');
  const { seen } = await hub.do();
  expect(seen.filter(({ method }) => method === 'POST').length).toBe(1);
  expect(await reports()).toEqual([]);
});

test('a report that came to nothing is not sent again', async () => {
  const { hub, attach, told } = setup();
  await hub.do({ faults: { post: 503 } });
  const { client } = await attach({ everyMs: 20 });
  await hub.do({ notify: { id: 'n1' } });
  await until(async () => (await hub.do()).seen.some(({ method }) => method === 'POST'));
  await hub.do({ faults: {} }, { notify: { id: 'n2' } });
  await until(() => client.notifications.getSnapshot().items.length === 2);
  await until(() => told('actions', 'notified'));
  expect(await told('actions', 'notified')).toBe(1);
});

test('the headers of now go with every report', async () => {
  const { hub, attach } = setup();
  await attach({ headers: async () => ({ authorization: 'Bearer t1' }) });
  await hub.do({ notify: { id: 'n1' } });
  await until(async () => (await hub.do()).reports.length);
  const { seen } = await hub.do();
  expect(seen.find(({ path }) => path === '/client-reports')?.authorization).toBe('Bearer t1');
});
