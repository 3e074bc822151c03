import { expect, test } from 'vitest';
import type { Client } from '../../src/core/types.ts';
import { room, until } from '../fixture/room.ts';

const view = (client: Client) => {
  const { items, unreadCount } = client.notifications.getSnapshot();
  return { unreadCount, unread: items.filter((n) => n.status === 'unread').map((n) => n.id) };
};

async function opened(count: number) {
  const { client: make, ...server } = room();
  for (let n = 1; n <= count; n++) await server.do({ notify: { id: `n${n}`, title: `N ${n}` } });
  const client = make();
  client.start();
  await until(() => client.notifications.getSnapshot().status === 'ready');
  await until(() => client.notifications.getSnapshot().items.length === count);
  return { client, server };
}

test('the newest come first, and the count is the one the server sent, never added up', async () => {
  const { client, server } = await opened(3);
  expect(view(client)).toEqual({ unreadCount: 3, unread: ['n3', 'n2', 'n1'] });
  const one = '{"id":"n9","rev":90,"seq":90,"status":"unread","title":"x","user":"u"}';
  const frame = `event: notification\ndata: {"notification":${one},"unread":7,"as_of":"e1.90.t"}\n\n`;
  await server.do({ raw: frame + frame });
  await until(() => view(client).unreadCount === 7);
  // An older count does not replace a newer one.
  const old = 'event: inbox\ndata: {"unread":1,"read_up_to":0,"as_of":"e1.2.t"}\n\n';
  const next = 'event: inbox\ndata: {"unread":5,"read_up_to":0,"as_of":"e1.91.t"}\n\n';
  await server.do({ raw: old + next });
  await until(() => view(client).unreadCount === 5);
});

test('reading shows at once, before the server has answered, and stays when it has', async () => {
  const { client, server } = await opened(2);
  await server.do({ faults: { postDelayMs: 200 } });
  const done = client.notifications.markRead('n1');
  expect(view(client)).toEqual({ unreadCount: 1, unread: ['n2'] });
  expect([...client.notifications.getSnapshot().pending]).toEqual(['n1']);
  expect(await done).toEqual({ ok: true });
  await until(() => client.notifications.getSnapshot().pending.size === 0);
  expect(view(client)).toEqual({ unreadCount: 1, unread: ['n2'] });
});

test('what the server refuses is taken back', async () => {
  const { client, server } = await opened(2);
  await server.do({ faults: { post: 503 } });
  const done = client.notifications.archive(['n1', 'n2']);
  expect(client.notifications.getSnapshot().items).toEqual([]);
  expect(await done).toMatchObject({ ok: false, error: { code: 'http', status: 503 } });
  expect(view(client)).toEqual({ unreadCount: 2, unread: ['n2', 'n1'] });
});

test('"all read" covers what was shown: what arrives meanwhile stays unread', async () => {
  const { client, server } = await opened(3);
  await server.do({ faults: { postDelayMs: 200 } });
  const done = client.notifications.markAllRead();
  expect(view(client)).toEqual({ unreadCount: 0, unread: [] });
  await server.do({ notify: { id: 'late', title: 'Late' } });
  await until(() => view(client).unread.includes('late'));
  expect(view(client).unreadCount).toBe(1);
  await done;
  await until(() => client.notifications.getSnapshot().pending.size === 0);
  expect(view(client)).toEqual({ unreadCount: 1, unread: ['late'] });
});

test('a mark made on another device shows here', async () => {
  const { client, server } = await opened(3);
  await fetch(`${server.url}/api/notifications/n2/read`, { method: 'POST', body: '{}' });
  await until(() => view(client).unreadCount === 2);
  expect(view(client).unread).toEqual(['n3', 'n1']);
  await fetch(`${server.url}/api/notifications/read-all`, { method: 'POST', body: '{}' });
  await until(() => view(client).unreadCount === 0);
});

test('archived ones leave the list, here and wherever it was done', async () => {
  const { client, server } = await opened(3);
  await client.notifications.archive('n3');
  await fetch(`${server.url}/api/notifications/n1/archive`, { method: 'POST', body: '{}' });
  await until(() => client.notifications.getSnapshot().items.length === 1);
  expect(view(client)).toEqual({ unreadCount: 1, unread: ['n2'] });
});

test('a broadcast carries no count; the client asks for it', async () => {
  const { client, server } = await opened(1);
  await server.do({ notify: { id: 'all', title: 'To all', user: null } });
  await until(() => view(client).unreadCount === 2);
});

test('older ones are loaded by page, until there are no more', async () => {
  const { client: make, ...server } = room();
  for (let n = 0; n < 3; n++) await server.do({ notify: { id: `n${n}`, title: `N ${n}` } });
  const client = make();
  // A page that resumed holds only what came since.
  client.start();
  await until(() => client.notifications.getSnapshot().items.length === 3);
  expect(await client.notifications.loadOlder()).toEqual({ ok: true });
  expect(client.notifications.getSnapshot()).toMatchObject({ hasMore: false });
  expect(client.notifications.getSnapshot().items).toHaveLength(3);
});
