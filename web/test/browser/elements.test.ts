import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { commands, page as window_ } from 'vitest/browser';
import type { Client, JobSnapshot } from '../../src/core/types.ts';
import { setDefaultClient } from '../../src/elements/index.ts';
import { violations } from '../fixture/axe.ts';
import { type Room, room, until } from '../fixture/room.ts';
import { clean, styled } from '../fixture/style.ts';

const find = <T extends HTMLElement>(selector: string) => document.querySelector(selector) as T;
const shown = () => find('milepost-progress');
const bar = () => find<HTMLProgressElement>('milepost-progress progress');
const said = (part: string) => find(`milepost-progress [data-part=${part}]`)?.textContent;
const toasts = () => [...document.querySelectorAll<HTMLElement>('.milepost-toast')];
const RUNNING = { title: 'Report', state: 'running', current: 3, total: 9 } as const;

beforeEach(() => {
  clean();
  sessionStorage.clear();
});
afterEach(() => setDefaultClient(null));

async function setup(html: string): Promise<Room & { live: Client }> {
  const here = room();
  const live = here.client({ timing: { backoff: [10] } });
  document.body.innerHTML = html;
  setDefaultClient(live);
  live.start();
  await until(() => live.connection.getSnapshot().status === 'connected');
  return { ...here, live };
}

/** The ends that the page hears of, as it would: at its root. */
function ends(): JobSnapshot[] {
  const heard: JobSnapshot[] = [];
  const hear = (event: HTMLElementEventMap['milepost:settled']) => heard.push(event.detail);
  document.body.addEventListener('milepost:settled', hear);
  onTestFinished(() => document.body.removeEventListener('milepost:settled', hear));
  return heard;
}

test('an element works whether it or the client comes first', async () => {
  const { live, ...server } = await setup('<milepost-bell></milepost-bell>');
  await server.do({ notify: { id: 'n', title: 'Hello' } });
  await until(() => find('.milepost-badge').textContent === '1');
  document.body.insertAdjacentHTML('beforeend', '<milepost-inbox></milepost-inbox>');
  await until(() => find('milepost-inbox .milepost-item'));
  setDefaultClient(null);
  expect(document.querySelector('.milepost-bell, .milepost-item')).toBeNull();
  setDefaultClient(live, { labels: { bell: 'Nachrichten' } });
  await until(() => find('milepost-bell .milepost-bell'));
  expect(find('milepost-inbox h2').textContent).toBe('Nachrichten');
});

test('what the server has rendered stays until the client knows better, and is then changed in place', async () => {
  const { live, ...server } = await setup(`
    <milepost-progress job-id="a"><progress value="2" max="9"></progress> 2 of 9</milepost-progress>
    <milepost-bell><a href="/notifications">Notifications</a></milepost-bell>`);
  const before = bar();
  let empty = false;
  new MutationObserver(() => {
    empty ||= !shown().textContent?.trim() || !bar()?.isConnected;
  }).observe(shown(), { childList: true, subtree: true, characterData: true });
  expect(shown().textContent).toBe(' 2 of 9');
  await server.do({ put: { id: 'a', ...RUNNING, eta_seconds: 5 } });
  await until(() => said('note') === '3 of 9 · about 5 s left');
  expect(bar()).toBe(before);
  expect([bar().value, bar().max]).toEqual([3, 9]);
  expect(shown().textContent).not.toContain('2 of 9');
  await server.do({ put: { id: 'a', current: 4 } });
  await until(() => bar().value === 4);
  expect(bar()).toBe(before);
  expect(empty).toBe(false);
  await until(() => find('milepost-bell .milepost-bell'));
  expect(document.querySelector('milepost-bell > a')).toBeNull();
});

test('without a connection the server’s markup is all there is, and stays', async () => {
  const here = room();
  await here.do({ faults: { stream: 503, changes: 503 } });
  document.body.innerHTML = `<milepost-progress job-id="a">2 of 9</milepost-progress>
    <milepost-bell><a href="/n">Notifications</a></milepost-bell>`;
  const live = here.client({ timing: { backoff: [10] } });
  setDefaultClient(live);
  live.start();
  await until(() => live.connection.getSnapshot().attempt > 2);
  expect(shown().textContent).toBe('2 of 9');
  expect(document.querySelector('milepost-bell > a')).not.toBeNull();
});

test('parts that the page has marked are kept where they are and filled; what is not marked is not touched', async () => {
  const { live, ...server } = await setup(`
    <milepost-progress job-id="a"><table><tr><th data-part="title">Old</th>
    <td>Progress: <b data-part="percent"></b> <progress data-part="bar"></progress></td>
    <td><a data-part="link" hidden>Download</a></td></tr></table></milepost-progress>`);
  const table = find('table');
  await server.do({ put: { id: 'a', ...RUNNING } });
  await until(() => said('percent') === '33 %');
  expect(find('td').textContent).toBe('Progress: 33 % ');
  expect(said('title')).toBe('Report');
  await server.do({ put: { id: 'a', state: 'completed', output_url: '/out' } });
  await until(() => find<HTMLAnchorElement>('td a').getAttribute('href') === '/out');
  expect(find('td a').textContent).toBe('Download');
  expect(find('td a').checkVisibility()).toBe(true);
  expect(find('table')).toBe(table);
});

test('an unknown total is an indeterminate bar, with a name; the end is shown, told once and said', async () => {
  styled();
  const heard = ends();
  const { live, ...server } = await setup('<milepost-progress job-id="a"></milepost-progress>');
  expect(shown().textContent).toBe('Loading…');
  expect(bar().position).toBe(-1);
  await server.do({ put: { id: 'a', ...RUNNING, total: null } });
  await until(() => said('note') === '3 so far');
  expect(bar().position).toBe(-1);
  expect(bar().getAttribute('aria-label')).toBe('Report');
  expect(document.querySelector(':is([aria-live], [role=status]) progress')).toBeNull();
  const output_url = '/out';
  await server.do({ put: { id: 'a', current: 4, total: 4 } });
  await until(() => bar().position === 1);
  await server.do({ put: { id: 'a', state: 'completed', message: 'Written', output_url } });
  await until(() => heard.length);
  expect(heard[0]).toMatchObject({ id: 'a', state: 'completed' });
  expect(said('text')).toBe('Written');
  expect(find('milepost-progress a').getAttribute('href')).toBe('/out');
  await until(() => find('.milepost-announcer').textContent === 'Report: Written');
  // Neither a move, nor another element for it, nor its state once more is another end.
  document.body.append(shown());
  document.body.insertAdjacentHTML(
    'beforeend',
    '<milepost-progress job-id="a"></milepost-progress>',
  );
  await server.do({ put: { id: 'a', message: 'Written again' } }, { put: { id: 'z' } });
  await until(() => live.job('z').getSnapshot().state === 'queued');
  await until(() => said('text') === 'Written again');
  expect(heard).toHaveLength(1);
  await server.do({
    put: { id: 'a', state: 'running', attempt: 2, created_at: '2027', message: '' },
  });
  await until(() => shown().dataset.state === 'running');
  await server.do({ put: { id: 'a', state: 'cancelled' } });
  await until(() => heard.length === 2);
  expect(said('text')).toBe('Cancelled');
});

test('a failure shows its message and code, and the bar stands still where it was', async () => {
  styled();
  const heard = ends();
  const { live, ...server } = await setup('<milepost-progress job-id="a"></milepost-progress>');
  const error = { code: 'TEMPLATE_ERROR', message: 'No such template' };
  await server.do({ put: { id: 'a', ...RUNNING, state: 'failed', error } });
  await until(() => heard.length);
  expect(said('text')).toBe('No such template');
  expect(said('code')).toBe('TEMPLATE_ERROR');
  expect([bar().value, bar().max, bar().hidden]).toEqual([3, 9, false]);
  shown().setAttribute('job-id', 'b');
  await server.do({ put: { id: 'b', title: 'Other', state: 'failed', error: null, total: null } });
  await until(() => said('title') === 'Other');
  expect(bar().checkVisibility()).toBe(false);
  expect(said('code')).toBe('UNEXPECTED');
});

test('a job that is taken away is said to be gone', async () => {
  const heard = ends();
  const { live, ...server } = await setup('<milepost-progress job-id="a"></milepost-progress>');
  await server.do({ put: { id: 'a', ...RUNNING } });
  await until(() => said('title') === 'Report');
  await server.do({ gone: { type: 'job', id: 'a' } });
  await until(() => heard.length);
  expect(heard[0]?.state).toBe('gone');
  expect(said('text')).toBe('Not available');
  expect(said('title')).toBe('Report');
});

test('it follows its job while it is on the page, and the job it is changed to', async () => {
  const { live, ...server } = await setup('<milepost-progress job-id="a"></milepost-progress>');
  const tracked = (id: string) => live.job(id).getSnapshot().tracked;
  await server.do({ put: { id: 'a', ...RUNNING } }, { put: { id: 'b', ...RUNNING, title: 'B' } });
  await until(() => said('title') === 'Report');
  expect([tracked('a'), tracked('b')]).toEqual([true, false]);
  shown().setAttribute('job-id', 'b');
  expect(said('title')).toBe('B');
  expect([tracked('a'), tracked('b')]).toEqual([false, true]);
  const element = shown();
  const first = bar();
  const elsewhere = document.createElement('div');
  document.body.append(elsewhere);
  elsewhere.append(element);
  expect(tracked('b')).toBe(true);
  expect(bar()).toBe(first);
  elsewhere.remove();
  await until(() => !tracked('b'));
  expect(element.textContent).toContain('B');
  document.body.append(elsewhere);
  await server.do({ put: { id: 'b', current: 8 } });
  await until(() => bar().value === 8);
  // A job of which nothing is known yet is not shown as the one before.
  shown().setAttribute('job-id', 'c');
  expect(shown().textContent).toBe('Loading…');
  shown().removeAttribute('job-id');
  expect(tracked('c')).toBe(false);
});

test('what was drawn before, and is put back as text, is taken up again', async () => {
  const { live, ...server } = await setup(
    '<main><milepost-bell></milepost-bell><milepost-progress job-id="a"></milepost-progress></main>',
  );
  await server.do({ put: { id: 'a', ...RUNNING } });
  await until(() => said('title') === 'Report');
  // As a history of pages does.
  const copy = find('main').innerHTML;
  find('main').innerHTML = copy;
  expect(document.querySelectorAll('.milepost-bell-root, .milepost-progress')).toHaveLength(2);
  find('.milepost-bell').click();
  expect(find('.milepost-bell').ariaExpanded).toBe('true');
  await server.do({ put: { id: 'a', current: 5 } });
  await until(() => bar().value === 5);
});

test('the toaster says how many toasts and where; there is one set, however many elements and scripts', async () => {
  styled();
  const { live, ...server } = await setup(
    '<milepost-toaster max="2" position="top-start"></milepost-toaster><milepost-toaster></milepost-toaster>',
  );
  for (const id of 'abc') live.job(id).track();
  for (const id of 'abc') await server.do({ put: { id, ...RUNNING, title: id } });
  await until(() => toasts().length === 2);
  const { left, top } = find('.milepost-toasts').getBoundingClientRect();
  expect([left, top]).toEqual([0, 0]);
  find('milepost-toaster').setAttribute('max', '3');
  await until(() => toasts().length === 3);
  expect(document.querySelectorAll('.milepost-toasts')).toHaveLength(1);
  // Replaced by its equal, as a swap does: the same toasts, the same elements.
  const kept = toasts();
  find('milepost-toaster').outerHTML = '<milepost-toaster max="3"></milepost-toaster>';
  await server.do({ put: { id: 'a', message: 'Still' } });
  await until(() => toasts().some(({ textContent }) => textContent?.includes('Still')));
  expect(toasts()).toEqual(kept);
  expect(find('.milepost-toasts').getBoundingClientRect().bottom).toBe(innerHeight);
  for (const element of document.querySelectorAll('milepost-toaster')) element.remove();
  await until(() => toasts().length === 0);
});

test('a job that the page shows needs no toast; one that it shows no more has one again', async () => {
  const { live, ...server } = await setup(
    '<milepost-toaster></milepost-toaster><milepost-progress job-id="a"></milepost-progress>',
  );
  live.job('a').track();
  live.job('b').track();
  await server.do({ put: { id: 'a', ...RUNNING } }, { put: { id: 'b', ...RUNNING, title: 'B' } });
  await until(() => toasts().length && said('title') === 'Report');
  expect(toasts().map((toast) => toast.querySelector('.milepost-title')?.textContent)).toEqual([
    'B',
  ]);
  shown().remove();
  await server.do({ put: { id: 'a', current: 5 } });
  await until(() => toasts().length === 2);
});

test('toasts and announcer outlive the rest of the page', async () => {
  const { live, ...server } = await setup('<p>Before</p>');
  find('p').insertAdjacentHTML('afterend', '<milepost-toaster></milepost-toaster>');
  live.job('a').track();
  await server.do({ put: { id: 'a', ...RUNNING } });
  await until(() => toasts().length === 1);
  const kept = toasts();
  document.body.innerHTML = '<p>After</p><milepost-toaster></milepost-toaster>';
  await until(() => toasts().length === 1);
  expect(toasts()).toEqual(kept);
  expect(document.querySelectorAll('.milepost-announcer')).toHaveLength(1);
  find('milepost-toaster').remove();
  await until(() => document.querySelector('.milepost-announcer, .milepost-toasts') === null);
});

test('the elements can be registered again', async () => {
  const again = '../../src/elements/index.ts?again';
  await expect(import(/* @vite-ignore */ again)).resolves.toHaveProperty('setDefaultClient');
});

describe('everything at once', () => {
  const none = { reducedMotion: null, forcedColors: null, colorScheme: null } as const;
  afterEach(async () => {
    await commands.emulate(none);
    await window_.viewport(414, 896);
    document.documentElement.style.colorScheme = '';
    document.body.style.background = '';
  });

  test.each(['light', 'dark', 'forced', 'less motion', 'narrow'])(
    '%s: axe finds nothing',
    async (look) => {
      styled();
      if (look === 'dark') {
        document.documentElement.style.colorScheme = 'dark';
        document.body.style.background = '#101114';
      }
      if (look === 'forced') await commands.emulate({ forcedColors: 'active' });
      if (look === 'less motion') await commands.emulate({ reducedMotion: 'reduce' });
      if (look === 'narrow') await window_.viewport(320, 640);
      const jobs = ['a', 'b', 'c', 'd'].map(
        (id) => `<milepost-progress job-id="${id}"></milepost-progress>`,
      );
      const { live, ...server } = await setup(
        `<milepost-bell></milepost-bell><milepost-connection></milepost-connection>
       <milepost-inbox></milepost-inbox>${jobs.join('')}<milepost-toaster></milepost-toaster>`,
      );
      expect(await violations()).toEqual([]);
      const error = { code: 'X_1', message: 'No '.repeat(99) };
      await server.do(
        { put: { id: 'a', ...RUNNING, message: 'Writing', eta_seconds: 9 } },
        { put: { id: 'b', ...RUNNING, total: null } },
        { put: { id: 'c', ...RUNNING, state: 'failed', error } },
        { put: { id: 'd', ...RUNNING, state: 'completed', output_url: '/x' } },
        { notify: { id: 'n', title: 'Heed', text: 'This', level: 'warning', href: '/x' } },
      );
      await until(() => toasts().length === 1 && find('milepost-inbox .milepost-item'));
      await until(() => document.querySelectorAll('milepost-progress[data-state]').length === 4);
      expect(await violations()).toEqual([]);
      for (const one of document.querySelectorAll('progress')) expect(one.ariaLabel).toBeTruthy();
      expect(document.documentElement.scrollWidth).toBeLessThanOrEqual(innerWidth);
      if (look === 'less motion') expect(document.getAnimations()).toEqual([]);
    },
  );
});
