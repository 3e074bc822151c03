import { expect, onTestFinished, test } from 'vitest';
import { auto } from '../../src/auto.ts';
import type { Client } from '../../src/core/types.ts';
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
  const client = make({ timing: quick, transports: ['poll'], env: { lifecycle } });
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
