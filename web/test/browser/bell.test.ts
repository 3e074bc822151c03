import { expect, onTestFinished, test, vi } from 'vitest';
import { userEvent } from 'vitest/browser';
import { attachBell, attachInbox } from '../../src/ui/index.ts';
import { violations } from '../fixture/axe.ts';
import { room, until } from '../fixture/room.ts';
import { clean, styled } from '../fixture/style.ts';

const find = <T extends HTMLElement>(selector: string) => document.querySelector(selector) as T;
const bell = () => find<HTMLButtonElement>('.milepost-bell');
const badge = () => find('.milepost-badge');
const panel = () => find('.milepost-inbox');
const rows = () => [...document.querySelectorAll<HTMLElement>('.milepost-inbox-list > li')];

async function setup(count: number) {
  clean();
  styled();
  const { client: make, ...server } = room();
  for (let n = 1; n <= count; n++)
    await server.do({ notify: { id: `n${n}`, title: `Title ${n}`, text: `Text ${n}` } });
  const client = make();
  const target = document.createElement('div');
  target.style.cssText = 'display:flex; justify-content:flex-end';
  document.body.append(target);
  const detach = attachBell(client, target);
  onTestFinished(detach);
  client.start();
  await until(() => client.notifications.getSnapshot().status === 'ready');
  if (count) await until(() => badge().textContent);
  return { client, server, detach };
}

test('the badge has the number, the button says it, and zero is no badge', async () => {
  const { server, client } = await setup(2);
  expect(badge().textContent).toBe('2');
  expect(bell().getAttribute('aria-label')).toBe('Notifications, 2 unread');
  expect(badge().getAttribute('aria-hidden')).toBe('true');
  await server.do({ notify: { id: 'n3', title: 'Three' } });
  await until(() => badge().textContent === '3');
  await client.notifications.markAllRead();
  await until(() => !badge().checkVisibility());
  expect(bell().getAttribute('aria-label')).toBe('Notifications');
  const raw = '{"unread":130,"read_up_to":0,"as_of":"e1.99.t"}';
  await server.do({ raw: `event: inbox\ndata: ${raw}\n\n` });
  await until(() => badge().textContent === '99+');
  expect(bell().getAttribute('aria-label')).toBe('Notifications, 130 unread');
});

test('the number is not announced on load, and a rise at most once in ten seconds', async () => {
  const { server } = await setup(2);
  const said: string[] = [];
  const announcer = find('.milepost-announcer');
  const observer = new MutationObserver(() => said.push(announcer.textContent ?? ''));
  observer.observe(announcer, { childList: true });
  for (let n = 3; n < 8; n++) await server.do({ notify: { id: `n${n}`, title: 'x' } });
  await until(() => said.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 300));
  observer.disconnect();
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(/^Notifications, \d unread$/);
});

test('it opens on click, closes on Escape, outside and on leaving; focus goes in and comes back', async () => {
  await setup(1);
  const outside = document.createElement('button');
  outside.textContent = 'outside';
  outside.style.cssText = 'position:fixed; bottom:0; left:0';
  document.body.append(outside);
  const open = async () => {
    await userEvent.click(bell());
    expect(panel().hidden).toBe(false);
    expect(bell().getAttribute('aria-expanded')).toBe('true');
    expect(panel().contains(document.activeElement)).toBe(true);
  };
  await open();
  await userEvent.keyboard('{Escape}');
  expect(panel().hidden).toBe(true);
  expect(document.activeElement).toBe(bell());
  await open();
  await userEvent.click(outside);
  expect(panel().hidden).toBe(true);
  await open();
  outside.focus();
  expect(panel().hidden).toBe(true);
  expect(document.activeElement).toBe(outside);
});

test('a press elsewhere that closes it leaves the page where it is', async () => {
  await setup(1);
  const below = document.createElement('div');
  below.style.cssText = 'height:3000px';
  document.body.append(below);
  await userEvent.click(bell());
  scrollTo({ top: 900, behavior: 'instant' });
  below.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true, composed: true }));
  expect(panel().hidden).toBe(true);
  expect(scrollY).toBe(900);
});

test('a row is read when it is opened; its link leads where the notification says', async () => {
  const { server, client } = await setup(1);
  await server.do({ notify: { id: 'l', title: 'Linked', href: '#there' } });
  await until(() => badge().textContent === '2');
  await userEvent.click(bell());
  expect(rows().map((row) => 'unread' in row.dataset)).toEqual([true, true]);
  expect(rows()[0]?.querySelector('a')?.getAttribute('href')).toBe('#there');
  expect(rows()[0]?.textContent).toContain('Unread:');
  const kept = rows();
  await userEvent.click(rows()[0]?.querySelector('a') as HTMLElement);
  await until(() => badge().textContent === '1');
  expect(rows().map((row) => 'unread' in row.dataset)).toEqual([false, true]);
  await userEvent.click(rows()[1]?.querySelector('button.milepost-row') as HTMLElement);
  await until(() => !badge().checkVisibility());
  await until(() => client.notifications.getSnapshot().pending.size === 0);
  // The focus is where it was: no row has been built again.
  expect(rows().every((row, place) => row === kept[place])).toBe(true);
  expect(kept[1]?.contains(document.activeElement)).toBe(true);
});

test('read all and archive act at once; what fails is taken back and said', async () => {
  const { server } = await setup(3);
  await userEvent.click(bell());
  await userEvent.click(find('[aria-label="Archive Title 3"]'));
  await until(() => rows().length === 2);
  expect(panel().contains(document.activeElement)).toBe(true);
  await until(async () => (await server.do()).seen.some(({ path }) => path.endsWith('/archive')));
  await server.do({ faults: { post: 503 } });
  await userEvent.click(find('.milepost-inbox-head .milepost-action'));
  await until(() => find('.milepost-problem').checkVisibility());
  await until(() => badge().textContent === '2');
  expect(find('.milepost-problem').textContent).toBe('That did not work. Try again.');
});

test('the list follows what arrives, in order, without rebuilding the rows that stay', async () => {
  const { server } = await setup(3);
  await userEvent.click(bell());
  const kept = rows();
  await server.do({ notify: { id: 'new', title: 'New one' } });
  await until(() => rows().length === 4);
  expect(rows()[0]?.textContent).toContain('New one');
  expect(rows().slice(1)).toEqual(kept);
});

test('an empty inbox says so', async () => {
  await setup(0);
  await userEvent.click(bell());
  expect(find('.milepost-empty').textContent).toBe('You are all caught up.');
  expect(find('.milepost-empty').checkVisibility()).toBe(true);
  expect(find('.milepost-problem').checkVisibility()).toBe(false);
});

test('hostile strings are text, and a link that could run code is none', async () => {
  const { server } = await setup(0);
  const evil = '<img src=x onerror="window.pwned=1">';
  await server.do({
    notify: { id: 'x', title: evil, text: evil, href: 'javascript:window.pwned=1' },
  });
  await until(() => badge().textContent === '1');
  await userEvent.click(bell());
  expect(rows()[0]?.textContent).toContain('<img');
  expect(document.querySelector('.milepost-inbox :is(img, a)')).toBeNull();
  expect('pwned' in window).toBe(false);
});

test('axe finds nothing: closed, open, dark; and it fits into the window at either edge', async () => {
  const { server } = await setup(4);
  await server.do({ notify: { id: 'w', title: 'W', level: 'warning', href: '/x' } });
  await until(() => badge().textContent === '5');
  expect(await violations()).toEqual([]);
  await userEvent.click(bell());
  await until(() => rows().length === 5);
  expect(await violations()).toEqual([]);
  document.documentElement.style.colorScheme = 'dark';
  document.body.style.background = '#101114';
  expect(await violations()).toEqual([]);
  document.documentElement.style.colorScheme = '';
  document.body.style.background = '';
  for (const justify of ['flex-start', 'flex-end']) {
    await userEvent.keyboard('{Escape}');
    find('.milepost-bell-root').parentElement?.style.setProperty('justify-content', justify);
    await userEvent.click(bell());
    const { left, right } = panel().getBoundingClientRect();
    expect(left).toBeGreaterThanOrEqual(0);
    expect(right).toBeLessThanOrEqual(innerWidth);
  }
});

test('detaching removes the bell and its listeners', async () => {
  const { detach, client } = await setup(1);
  const listen = vi.spyOn(client.notifications, 'getSnapshot');
  detach();
  expect(document.querySelector('.milepost-bell-root')).toBeNull();
  expect(document.querySelector('.milepost-announcer')).toBeNull();
  listen.mockRestore();
});

test('the inbox stands in a page by itself: loading, empty, read, archive, and what fails', async () => {
  clean();
  styled();
  const { client: make, ...server } = room();
  const client = make();
  const target = document.createElement('div');
  document.body.append(target);
  const detach = attachInbox(client, target);
  expect(find('.milepost-empty').textContent).toBe('Loading…');
  client.start();
  await until(() => find('.milepost-empty').textContent === 'You are all caught up.');
  for (const n of [1, 2]) await server.do({ notify: { id: `n${n}`, title: `Title ${n}` } });
  await until(() => rows().length === 2);
  expect(await violations()).toEqual([]);
  await userEvent.click(rows()[0]?.querySelector('.milepost-row') as HTMLElement);
  await until(() => !('unread' in (rows()[0]?.dataset ?? {})));
  await userEvent.click(find('.milepost-inbox-head .milepost-action'));
  await until(() => document.querySelector('.milepost-item[data-unread]') === null);
  await userEvent.click(find('[aria-label="Archive Title 2"]'));
  await until(() => rows().length === 1);
  await server.do({ faults: { post: 503 } });
  await userEvent.click(find('[aria-label="Archive Title 1"]'));
  await until(() => find('.milepost-problem').checkVisibility());
  await until(() => rows().length === 1);
  detach();
  expect(target.childElementCount).toBe(0);
  expect(document.querySelector('.milepost-announcer')).toBeNull();
});

test('older notifications are shown on demand', async () => {
  clean();
  styled();
  const { client: make, ...server } = room();
  for (let n = 1; n <= 25; n++) await server.do({ notify: { id: `n${n}`, title: `Title ${n}` } });
  const client = make();
  onTestFinished(attachInbox(client, document.body));
  client.start();
  await until(() => rows().length >= 20 && find('.milepost-older').checkVisibility());
  await userEvent.click(find('.milepost-older'));
  await until(() => rows().length === 25 && !find('.milepost-older').checkVisibility());
  // Not where the next test's toasts will be.
  await userEvent.hover(find('.milepost-heading'));
});
