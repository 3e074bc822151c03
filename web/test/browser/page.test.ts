import htmx2 from 'htmx.org/dist/htmx.min.js?url';
import htmx4 from 'htmx-4/dist/htmx.min.js?url';
import { expect, onTestFinished, test } from 'vitest';
import { auto } from '../../src/auto.ts';
import type { Client, Job } from '../../src/core/types.ts';
import { attachDomEvents } from '../../src/htmx/index.ts';
import { attachConnection } from '../../src/ui/index.ts';
import { page, room, until } from '../fixture/room.ts';
import { clean, styled } from '../fixture/style.ts';

const quick = { backoff: [10], idleBackoff: [10], notice: 60 };

test('every fresh notification is window events, with the link that the page’s routes give', async () => {
  const { client: make, ...server } = room();
  const client = make({ timing: quick });
  onTestFinished(attachDomEvents(client, { jobUrl: '/j/{job_id}' }));
  const heard: [string, Record<string, unknown>][] = [];
  for (const type of ['toast', 'notification:created', 'document:activity', 'job:activity']) {
    const hear = (event: Event) => heard.push([type, (event as CustomEvent).detail]);
    window.addEventListener(type, hear);
    onTestFinished(() => window.removeEventListener(type, hear));
  }
  client.start();
  await until(() => client.notifications.getSnapshot().status === 'ready');
  const send = async (notify: { id: string } & Record<string, unknown>) => {
    heard.length = 0;
    await server.do({ notify });
    await until(() => heard.some(([type]) => type === 'notification:created'));
    return heard.map(([type, detail]) => (type === 'toast' ? detail : type));
  };
  expect(await send({ id: '1', text: 'Plain', level: 'warning' })).toEqual([
    { type: 'info', text: 'Plain', href: null },
    'notification:created',
  ]);
  const document_id = 'd/1';
  expect(await send({ id: '2', text: 'Doc', context: { document_id } })).toEqual([
    { type: 'success', text: 'Doc', href: '/dashboard/documents/d%2F1' },
    'notification:created',
    'document:activity',
  ]);
  expect(await send({ id: '3', text: 'Job', level: 'error', context: { job_id: 'j' } })).toEqual([
    { type: 'error', text: 'Job', href: '/j/j' },
    'notification:created',
    'job:activity',
  ]);
  const both = { href: '/own', job_id: 'j', document_id: 'd' };
  expect(await send({ id: '4', text: 'Own', context: both })).toEqual([
    { type: 'success', text: 'Own', href: '/own' },
    ...['notification:created', 'document:activity', 'job:activity'],
  ]);
  expect(heard[1]?.[1]).toMatchObject({ id: '4', context: both });
});

test('what shows a document or a job is told to read itself again, once for many', async () => {
  clean();
  const { client: make, ...server } = room();
  const client = make({ timing: quick });
  onTestFinished(attachDomEvents(client));
  const odd = 'a"]:x\\b';
  const heard: string[] = [];
  for (const [name, ...attributes] of [
    ['one', 'data-document-detail', `data-document-id=${odd}`],
    ['other', 'data-document-detail', 'data-document-id=other'],
    ['job', 'data-job-detail', 'data-job-id=j1'],
    ['documents', 'data-documents-page'],
    ['jobs', 'data-jobs-page'],
  ] as const) {
    const element = document.createElement('div');
    for (const attribute of attributes) {
      const [key = '', value = ''] = attribute.split(/=(.*)/s);
      element.setAttribute(key, value);
    }
    document.body.append(element);
    for (const type of ['refreshDocument', 'refreshDocuments', 'refreshJob', 'refreshJobs'])
      element.addEventListener(type, () => heard.push(`${name} ${type}`));
  }
  // They bubble, so that a page can listen once.
  let bubbled = 0;
  const count = () => bubbled++;
  document.addEventListener('refreshJobs', count);
  onTestFinished(() => document.removeEventListener('refreshJobs', count));
  client.start();
  await until(() => client.notifications.getSnapshot().status === 'ready');
  await server.do(
    { notify: { id: '1', text: 'x', context: { document_id: odd } } },
    { notify: { id: '2', text: 'y', context: { document_id: odd } } },
  );
  await until(() => heard.length === 3);
  expect(heard.sort()).toEqual([
    'documents refreshDocuments',
    'jobs refreshJobs',
    'one refreshDocument',
  ]);
  expect(bubbled).toBe(1);
  heard.length = 0;
  await server.do({ wipe: true });
  await until(() => heard.length === 5);
  expect(heard.sort()).toEqual([
    'documents refreshDocuments',
    'job refreshJob',
    'jobs refreshJobs',
    'one refreshDocument',
    'other refreshDocument',
  ]);
});

/** An element that says what it shows, and how often it has been told. */
function shows(what: string): { readonly element: HTMLElement; readonly told: unknown[] } {
  const element = document.createElement('div');
  element.dataset.milepostRefresh = what;
  document.body.append(element);
  const told: unknown[] = [];
  element.addEventListener('milepost:refresh', ({ detail }) => told.push(detail));
  return { element, told };
}

/** Long enough that what is due is told. */
const rest = () => new Promise((resolve) => setTimeout(resolve, 400));

test('what an element shows decides of what it is told, and the last change is never left out', async () => {
  clean();
  const { client: make, ...server } = room();
  const client = make({ timing: quick });
  onTestFinished(attachDomEvents(client));
  await server.do({ put: { id: 'old', state: 'running', updated_at: '2020-01-01T00:00:00Z' } });
  await server.do({ put: { id: 'new', state: 'running', updated_at: new Date().toISOString() } });
  const names = ['job:old', 'job:new', 'job:j:1', 'document:d', 'notifications', 'jobs'];
  const told = Object.fromEntries(
    [...names, 'job:other job:j:1'].map((name) => [name, shows(name).told]),
  );
  const heard = () => Object.keys(told).filter((name) => told[name]?.splice(0).length);
  client.start();
  await until(() => client.jobs.getSnapshot().length === 2);
  await rest();
  // A job that has changed since the page was made may not be on it as it is.
  expect(heard()).toEqual(['job:new', 'jobs']);
  await server.do({ put: { id: 'old', current: 1 } });
  await until(() => told['job:old']?.length);
  expect(heard()).toEqual(['job:old', 'jobs']);
  for (let current = 1; current <= 9; current++)
    await server.do({
      put: { id: 'j:1', state: 'running', current, updated_at: '2999-01-01T00:00:00Z' },
    });
  await until(() => (told['job:j:1']?.at(-1) as { current: number } | undefined)?.current === 9);
  expect(told['job:j:1']?.length).toBeLessThan(9);
  await rest();
  expect(heard()).toEqual(['job:j:1', 'jobs', 'job:other job:j:1']);
  await server.do({ notify: { id: 'n', text: 'x', context: { document_id: 'd' } } });
  await until(() => told.notifications?.length);
  expect(heard()).toEqual(['document:d', 'notifications']);
  await client.notifications.markAllRead();
  await until(() => told.notifications?.length);
  await rest();
  expect(heard()).toEqual(['notifications']);
  await server.do({ wipe: true });
  await until(() => Object.values(told).every(({ length }) => length));
  for (const one of Object.values(told)) expect(one).toHaveLength(1);
});

test('a page that nobody looks at is not told; it is when it shows, once', async () => {
  clean();
  const look = (state: string) => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  };
  onTestFinished(() => {
    Reflect.deleteProperty(document, 'visibilityState');
  });
  const { client: make, ...server } = room();
  const client = make({ timing: quick, hidden: 'keep' });
  onTestFinished(attachDomEvents(client));
  await server.do({ put: { id: 'a', state: 'running' } });
  const { told } = shows('job:a');
  client.start();
  await until(() => client.jobs.getSnapshot().length);
  look('hidden');
  for (const current of [1, 2]) {
    await server.do({ put: { id: 'a', current } });
    await until(() => client.job('a').getSnapshot().current === current);
    await rest();
  }
  expect(told).toEqual([]);
  look('visible');
  expect(told).toMatchObject([{ current: 2 }]);
  await rest();
  expect(told).toHaveLength(1);
});

test('what takes the place of an element that is to be told is told instead', async () => {
  clean();
  const { client: make, ...server } = room();
  const client = make({ timing: quick });
  onTestFinished(attachDomEvents(client));
  await server.do({ put: { id: 'a', state: 'running' } });
  const first = shows('job:a');
  let second: typeof first | undefined;
  let state: string | undefined;
  client.on('job.updated', (job) => {
    state = job.state;
    if (state !== 'completed') return;
    first.element.remove();
    second = shows('job:a');
  });
  client.start();
  await until(() => state === 'running');
  await server.do({ put: { id: 'a', state: 'completed' } });
  await until(() => second?.told.length);
  expect(first.told).toEqual([]);
});

test.each([
  ['htmx 2', htmx2],
  ['htmx 4', htmx4],
])('%s: fragments that say what they show read themselves again', async (_, htmx) => {
  clean();
  const { url, ...server } = room();
  const fragment = `<p>Version {n}</p>
    <milepost-progress job-id="a"><progress value="1" max="9"></progress></milepost-progress>
    <div id="inner" hx-get="${url}/page/fragment/inner" hx-trigger="milepost:refresh consume"
         data-milepost-refresh="document:d">none</div>`;
  await server.do({
    fragment,
    put: { id: 'a', title: 'Report', state: 'running', current: 1, total: 9 },
  });
  const frame = document.createElement('iframe');
  frame.srcdoc = `<!doctype html><html lang="en"><head>
    <meta name="htmx-config" content='{"selfRequestsOnly": false, "mode": "cors"}'>
    <script src="${htmx}"></script></head><body>
    <main hx-get="${url}/page/fragment/outer" hx-trigger="milepost:refresh" data-milepost-refresh="job:a">
    Version 0</main>
    <script type="module">
      import { attachDomEvents, createClient, setDefaultClient } from '${location.origin}/src/browser.ts';
      const client = createClient({ baseUrl: '${url}', storage: 'memory' });
      attachDomEvents(client);
      setDefaultClient(client);
      client.start();
      window.client = client;
    </script></body></html>`;
  document.body.append(frame);
  const inside = () => frame.contentDocument?.querySelector('main') as HTMLElement;
  const { client } = await until(() => {
    const its = frame.contentWindow as unknown as { client?: Client } | null;
    return its?.client?.jobs.getSnapshot().length && { client: its.client };
  });
  onTestFinished(() => client.close());
  const asked = async (name: string) =>
    (await server.do()).seen.filter(({ path }) => path === `/fragment/${name}`).length;
  const told: { readonly at: number; readonly current: number }[] = [];
  inside().addEventListener('milepost:refresh', ({ detail }) =>
    told.push({ at: performance.now(), current: (detail as Job).current }),
  );
  for (let current = 2; current <= 40; current++) {
    await server.do({ put: { id: 'a', current, total: 40 } });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await until(() => told.at(-1)?.current === 40);
  await until(() => inside().textContent?.includes('Version'));
  await until(() => !frame.contentDocument?.querySelector('.htmx-request'));
  expect(told.length).toBeGreaterThan(1);
  for (const [n, { at }] of told.entries())
    expect(at - (told[n - 1]?.at ?? 0)).toBeGreaterThan(249);
  const outer = await asked('outer');
  expect(outer).toBeGreaterThan(1);
  expect(outer).toBeLessThanOrEqual(told.length);
  // What has been swapped in is alive, and is told of what it shows itself.
  await until(() => inside().querySelector('progress')?.value === 40);
  await until(() => inside().querySelector('[data-part=title]')?.textContent === 'Report');
  await server.do({ notify: { id: 'n', text: 'x', context: { document_id: 'd' } } });
  await until(() => inside().querySelector('#inner p'));
  expect(await asked('inner')).toBe(1);
  expect(told.at(-1)?.current).toBe(40);
  expect(await asked('outer')).toBe(outer);
});

test('the notice is silent while all is well, names polling, and says when it reconnects', async () => {
  clean();
  styled();
  const { client: make, ...server } = room();
  const target = document.createElement('div');
  document.body.append(target);
  const client = make({ timing: { ...quick, probe: 100 } });
  onTestFinished(attachConnection(client, target));
  const notice = target.firstElementChild as HTMLElement;
  client.start();
  await until(() => client.connection.getSnapshot().status === 'connected');
  await until(() => !notice.checkVisibility()); // a slow machine had time to say that it connects
  await server.do({ faults: { stream: 503, changes: 503 } }, { drop: true });
  await until(() => notice.textContent === 'Reconnecting…');
  expect(notice.checkVisibility()).toBe(true);
  await server.do({ faults: { stream: 'empty' } });
  await until(() => notice.textContent === 'Updates by polling');
  await server.do({ faults: {} });
  await until(() => !notice.checkVisibility());
});

test('a page that polls says so once, however often it is hidden and shown again', async () => {
  clean();
  const { client: make, ...server } = room();
  await server.do({ config: { transports: ['poll'] } });
  const target = document.createElement('div');
  document.body.append(target);
  const lifecycle = page();
  // A connect that takes 60 ms is told as "Reconnecting…", and rightly: that is another test's.
  const timing = { ...quick, notice: 10_000 };
  const client = make({ timing, transports: ['poll'], env: { lifecycle } });
  onTestFinished(attachConnection(client, target));
  const said: (string | null)[] = [];
  new MutationObserver(() => said.push(target.textContent)).observe(target, {
    subtree: true,
    childList: true,
    characterData: true,
  });
  client.start();
  await until(() => target.textContent === 'Updates by polling');
  for (const _ of 'ab') {
    lifecycle.say('hidden');
    await until(() => client.connection.getSnapshot().status === 'idle');
    lifecycle.say('visible');
    await until(() => client.connection.getSnapshot().status === 'polling');
  }
  expect(said).toEqual(['Updates by polling']);
  client.pause();
  await until(() => target.textContent === '');
});

test('one script tag with data-auto connects, styles and fills the page', async () => {
  clean();
  const { url, ...server } = room();
  await server.do({ notify: { id: 'n', title: 'Hello' } });
  document.body.innerHTML = '<milepost-bell></milepost-bell><div data-milepost-connection></div>';
  const script = document.createElement('script');
  Object.assign(script.dataset, { auto: '', userKey: 'u7', analytics: '' });
  // Its address says where the server is; nothing is loaded from it here.
  Object.defineProperty(script, 'src', { value: `${url}/milepost.js` });
  const client = auto(script) as Client;
  onTestFinished(() => {
    client.close({ forget: true });
    document.querySelector('link[href$="milepost.css"]')?.remove();
  });
  expect(document.querySelector(`link[rel=stylesheet][href="${url}/milepost.css"]`)).not.toBeNull();
  await until(() => document.querySelector('.milepost-badge')?.textContent === '1');
  expect(document.querySelector('.milepost-connection')).not.toBeNull();
  client.job('a').track();
  await server.do({ put: { id: 'a', title: 'Job a', state: 'running' } });
  await until(() => document.querySelector('.milepost-toast'));
  await server.do({ put: { id: 'a', updated_at: new Date().toISOString() } });
  await until(async () => (await server.do()).reports.length);
});

test('with data-auto an element that comes later works, and a second script is the first one’s', async () => {
  clean();
  const { url, ...server } = room();
  await server.do({ notify: { id: 'n', title: 'Hello' } });
  const script = document.createElement('script');
  script.dataset.auto = '';
  Object.defineProperty(script, 'src', { value: `${url}/milepost.js` });
  const client = auto(script) as Client;
  onTestFinished(() => {
    client.close({ forget: true });
    document.querySelector('link[href$="milepost.css"]')?.remove();
  });
  expect(auto(script)).toBe(client);
  await until(() => client.connection.getSnapshot().status === 'connected');
  const bell = document.createElement('milepost-bell');
  document.body.append(bell);
  await until(() => bell.querySelector('.milepost-badge')?.textContent === '1');
  client.job('a').track();
  await server.do({ put: { id: 'a', title: 'Job a', state: 'running' } });
  await until(() => document.querySelector('.milepost-toast'));
  document.body.insertAdjacentHTML('beforeend', '<milepost-toaster max="1"></milepost-toaster>');
  client.job('b').track();
  await server.do({ put: { id: 'b', title: 'Job b', state: 'running' } });
  await until(() => client.job('b').getSnapshot().state === 'running');
  await until(() => document.querySelectorAll('.milepost-toast').length === 1);
  await rest();
  expect(document.querySelectorAll('.milepost-toast:not([data-leaving])')).toHaveLength(1);
});

test('with data-track every job that is under way has its toast, and how it ended is shown', async () => {
  clean();
  const { url, ...server } = room();
  await server.do({ put: { id: 'over', title: 'Over', state: 'completed' } });
  await server.do({ put: { id: 'a', title: 'Before', state: 'running' } });
  const script = document.createElement('script');
  Object.assign(script.dataset, { auto: '', track: '' });
  Object.defineProperty(script, 'src', { value: `${url}/milepost.js` });
  const client = auto(script) as Client;
  onTestFinished(() => {
    client.close({ forget: true });
    document.querySelector('link[href$="milepost.css"]')?.remove();
  });
  const titles = () => [...document.querySelectorAll('.milepost-toast')].map((e) => e.textContent);
  const shown = (text: string) => until(() => titles().some((title) => title?.includes(text)));
  await shown('Before');
  await server.do({ put: { id: 'b', title: 'Later', state: 'running' } });
  await shown('Later');
  await server.do({ put: { id: 'b', title: 'Later', state: 'completed', message: 'It is done' } });
  await shown('It is done');
  expect(titles().join()).not.toContain('Over');
});

test('without data-auto a script does nothing by itself', () => {
  expect(auto(document.createElement('script'))).toBeUndefined();
  expect(auto(null)).toBeUndefined();
});
