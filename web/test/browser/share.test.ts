import { expect, onTestFinished, test, vi } from 'vitest';
import type { Client } from '../../src/core/types.ts';
import { shareTabs } from '../../src/share/index.ts';
import { page, type Room, room, until } from '../fixture/room.ts';

const quick = { backoff: [10], idleBackoff: [10] };
let users = 0;

/** One user's tabs. That they are in one page makes no difference to locks and channels. */
function user() {
  const { client: make, url, ...server } = room();
  const userKey = `u${++users}`;
  const name = `milepost:1:${url}/${userKey}`;
  const tab = (options: Parameters<Room['client']>[0] = {}) => {
    const client = make({ userKey, share: shareTabs, timing: quick, ...options });
    client.start();
    return client;
  };
  const streams = async () => (await server.do()).seen.filter(({ path }) => path === '/stream');
  return { tab, name, server, streams };
}

const status = (client: Client) => client.connection.getSnapshot().status;
const connected = (...clients: Client[]) =>
  until(() => clients.every((client) => status(client) === 'connected'));
const seen = ({ jobs, notifications }: Client) => {
  const { items, unreadCount } = notifications.getSnapshot();
  const shown = jobs.getSnapshot().map(({ id, current, rev }) => `${id} ${current} ${rev}`);
  return [shown.sort(), items.map(({ id, status }) => `${id} ${status}`), unreadCount];
};
const same = (one: Client, ...others: Client[]) =>
  until(() => others.every((other) => JSON.stringify(seen(other)) === JSON.stringify(seen(one))));

/** What the tabs of a user say to each other. */
function overhear(name: string) {
  const channel = new BroadcastChannel(name);
  onTestFinished(() => channel.close());
  const heard: { leader: number; n: number; all?: boolean; ask?: string }[] = [];
  channel.onmessage = ({ data }) => heard.push(data);
  return { channel, heard };
}

test('three tabs have one stream and show the same, also the one that came late', async () => {
  const { tab, server, streams } = user();
  await server.do(
    { put: { id: 'a', current: 1 } },
    { notify: { id: 'n' } },
    { notify: { id: 'm', status: 'read' } },
  );
  const [one, two] = [tab(), tab()];
  await connected(one, two);
  await server.do({ put: { id: 'b', current: 1 } }, { notify: { id: 'o' } });
  await until(() => two.notifications.getSnapshot().unreadCount === 2);
  const three = tab();
  await connected(three);
  await same(one, two, three);
  await server.do({ put: { id: 'a', current: 2 } }, { gone: { type: 'notification', id: 'm' } });
  await until(() => three.notifications.getSnapshot().items.length === 2);
  await same(one, two, three);
  expect(await two.notifications.markRead('n')).toEqual({ ok: true });
  await until(() => three.notifications.getSnapshot().unreadCount === 1);
  await same(one, two, three);
  expect(await streams()).toHaveLength(1);
});

test('when the leader leaves, another resumes where it was, and the others follow that one', async () => {
  const { tab, server, streams } = user();
  const [one, two, three] = [tab(), tab(), tab()];
  await connected(one, two, three);
  await server.do({ put: { id: 'a', current: 1 } });
  await until(() => [two, three].every((client) => client.job('a').getSnapshot().current === 1));
  one.close();
  await server.do({ put: { id: 'a', current: 2 } });
  await until(() => [two, three].every((client) => client.job('a').getSnapshot().current === 2));
  await connected(two, three);
  const [, again, ...more] = await streams();
  expect(again?.query.after).toBe('e1.1.tag');
  expect(more).toEqual([]);
  expect((await server.do()).streams).toBe(1);
});

test('fresh news is told in every tab, what a newcomer is handed is not', async () => {
  const { tab, server } = user();
  await server.do({ notify: { id: 'old' } });
  const [one, two] = [tab(), tab()];
  const told: string[] = [];
  for (const [name, client] of Object.entries({ one, two }))
    client.on('notification.created', ({ id }) => told.push(`${name} ${id}`));
  await connected(one, two);
  await server.do({ notify: { id: 'new' } });
  await until(() => told.length === 2);
  const three = tab();
  three.on('notification.created', ({ id }) => told.push(`three ${id}`));
  await until(() => three.notifications.getSnapshot().items.length === 2);
  await server.do({ notify: { id: 'last' } });
  await until(() => told.length === 5);
  expect(told.sort()).toEqual(['one last', 'one new', 'three last', 'two last', 'two new']);
});

test('a broadcast, which carries no count, makes one tab ask for it, for all', async () => {
  const { tab, server } = user();
  const [one, two, three] = [tab(), tab(), tab()];
  await connected(one, two, three);
  await server.do({ notify: { id: 'n', user: null } });
  await until(() =>
    [one, two, three].every((client) => client.notifications.getSnapshot().unreadCount === 1),
  );
  const asked = (await server.do()).seen.filter(({ path }) => path.endsWith('/unread-count'));
  expect(asked).toHaveLength(1);
});

test('a follower shows how the leader’s connection is, and can make it try again', async () => {
  const { tab, server } = user();
  const one = tab();
  await connected(one);
  const two = tab();
  await connected(two);
  await server.do({ faults: { stream: 503, retryAfter: 60, problem: 'busy' } }, { drop: true });
  await until(() => two.connection.getSnapshot().error?.status);
  const { error, retryAt, ...state } = two.connection.getSnapshot();
  expect(state).toMatchObject({ status: 'reconnecting', transport: 'sse', paused: [] });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({ code: 'http', status: 503, problem: 'busy' });
  expect(retryAt).toBeCloseTo(one.connection.getSnapshot().retryAt as number, 0);
  await server.do({ faults: {} });
  two.retryNow();
  await connected(one, two);
});

test('who comes before the server has told the leader anything shows that, and gets it all then', async () => {
  const { tab, server } = user();
  await server.do({ faults: { stream: 503 } }, { put: { id: 'a', current: 1 } });
  await server.do({ notify: { id: 'n' } });
  const one = tab({ timing: { ...quick, notice: 50, backoff: [100], idleBackoff: [100] } });
  await until(() => one.connection.getSnapshot().notice);
  const two = tab();
  await until(() => two.connection.getSnapshot().notice);
  expect(two.connection.getSnapshot()).toMatchObject({ status: 'reconnecting' });
  await server.do({ faults: {} });
  await connected(one, two);
  await until(() => two.notifications.getSnapshot().unreadCount === 1);
  await same(one, two);
});

test('a server that lost its history: the followers lose what the leader loses', async () => {
  const { tab, server } = user();
  const [one, two] = [tab(), tab()];
  await connected(one, two);
  await server.do({ put: { id: 'a', current: 5 } }, { notify: { id: 'n' } });
  await until(() => two.notifications.getSnapshot().unreadCount === 1);
  const resynced = vi.fn();
  two.on('resynced', resynced);
  await server.do({ wipe: true }, { put: { id: 'a', current: 1 } });
  await until(() => two.job('a').getSnapshot().current === 1);
  await until(() => two.notifications.getSnapshot().items.length === 0);
  await same(one, two);
  expect(resynced).toHaveBeenCalledOnce();
});

test('who has missed a message asks for everything', async () => {
  const { tab, name, server } = user();
  const one = tab();
  await connected(one);
  const two = tab();
  await connected(two);
  const { channel, heard } = overhear(name);
  const lost = vi.spyOn(BroadcastChannel.prototype, 'postMessage').mockImplementationOnce(() => {});
  onTestFinished(() => lost.mockRestore());
  await server.do({ put: { id: 'a', current: 1 } });
  await until(() => one.job('a').getSnapshot().current === 1);
  expect(heard).toEqual([]);
  await server.do({ put: { id: 'b', current: 1 } });
  await until(() => two.job('b').getSnapshot().current === 1);
  await same(one, two);
  expect(heard.filter(({ ask }) => ask)).toHaveLength(1);
  const last = await until(() => heard.findLast(({ ask }) => !ask));
  expect(last.all).toBe(true);
  // What an earlier leader still had to say is not heard.
  channel.postMessage({ ...last, leader: last.leader - 1, all: true, news: [] });
  await server.do({ put: { id: 'a', current: 2 } });
  await until(() => two.job('a').getSnapshot().current === 2);
  await same(one, two);
  expect(heard.filter(({ ask }) => ask)).toHaveLength(1);
});

test('a tab that is hidden waits for a leader that does not answer; one that is seen takes its place', async () => {
  const { tab, name, streams } = user();
  const thaw = new AbortController();
  onTestFinished(() => thaw.abort());
  const stolen = new Promise((resolve) => {
    const frozen = () => new Promise((end) => thaw.signal.addEventListener('abort', end));
    navigator.locks.request(name, frozen).catch(resolve);
  });
  const lifecycle = page();
  const began = performance.now();
  lifecycle.say('hidden');
  const one = tab({ env: { lifecycle } });
  await new Promise((resolve) => setTimeout(resolve, 2500));
  expect(status(one)).toBe('connecting');
  lifecycle.say('visible');
  await connected(one);
  await stolen;
  expect(performance.now() - began).toBeGreaterThan(4000);
  expect(await streams()).toHaveLength(1);
});

test('a leader whose lock was taken drops its stream and follows', async () => {
  const { tab, name, server, streams } = user();
  const [one, two] = [tab(), tab()];
  await connected(one, two);
  // Another tab found it unresponsive, took over, and has gone.
  await navigator.locks.request(name, { steal: true }, () => {});
  await until(async () => (await streams()).length === 2);
  await connected(one, two);
  expect((await server.do()).streams).toBe(1);
  await server.do({ put: { id: 'a', current: 1 } });
  await until(() => [one, two].every((client) => client.job('a').getSnapshot().current === 1));
});

test('a tab that pauses lets go, hears nothing, and is told everything when it resumes', async () => {
  const { tab, server, streams } = user();
  const [one, two] = [tab(), tab()];
  await connected(one, two);
  const resume = one.pause();
  await until(async () => (await streams()).length === 2);
  expect(status(one)).toBe('idle');
  await server.do({ put: { id: 'a', current: 1 } }, { put: { id: 'b', current: 1 } });
  await until(() => two.job('b').getSnapshot().current === 1);
  expect(one.job('a').getSnapshot().state).toBe('unknown');
  resume();
  await connected(one, two);
  await same(one, two);
  expect(await streams()).toHaveLength(2);
});

test('without a user key, and where locks are forbidden, every tab connects for itself', async () => {
  const { tab, server, streams } = user();
  const nobody = [tab({ userKey: '' }), tab({ userKey: '' })];
  await connected(...nobody);
  expect(await streams()).toHaveLength(2);
  const refused = new DOMException('no', 'SecurityError');
  const request = vi.spyOn(navigator.locks, 'request').mockRejectedValue(refused);
  onTestFinished(() => request.mockRestore());
  await connected(tab(), tab());
  expect((await server.do()).streams).toBe(4);
});

test('only one of the tabs that claim a toast in the same moment gets it', async () => {
  const { tab } = user();
  const tabs = [tab(), tab(), tab(), tab()];
  await connected(...tabs);
  const claims = await Promise.all(tabs.map(({ memory }) => memory.claim('note:1')));
  expect(claims.filter(Boolean)).toHaveLength(1);
});
