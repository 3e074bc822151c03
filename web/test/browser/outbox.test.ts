import fc from 'fast-check';
import { afterEach, beforeEach, expect, inject, onTestFinished, test, vi } from 'vitest';
import { attachOutbox, createOutbox, type OutboxOptions } from '../../src/outbox/index.ts';
import { createShelf } from '../../src/outbox/shelf.ts';
import type { CarriedOut, Fate } from '../fixture/application.ts';
import { until } from '../fixture/room.ts';
import { clean, styled } from '../fixture/style.ts';

let users = 0;
const real = setTimeout;
beforeEach(() => {
  localStorage.clear();
  // Its waiting is a matter of the backoff's own tests.
  vi.stubGlobal('setTimeout', (task: () => void, ms = 0) => real(task, Math.min(ms, 20)));
});
afterEach(() => {
  vi.unstubAllGlobals();
  localStorage.clear();
});

/** One user's outbox, and the server of the application. */
function setup() {
  const userKey = `u${++users}`;
  const url = `${inject('fixture')}/${userKey}${Math.random()}/application`;
  const open = (options: Partial<OutboxOptions> = {}) => {
    const outbox = createOutbox({ userKey, ...options });
    onTestFinished(outbox.close);
    return outbox;
  };
  const fates = (...fates: Fate[]) =>
    fetch(`${url}/fates`, { method: 'POST', body: JSON.stringify({ fates }) });
  const seen = async () => {
    const answer = await fetch(`${url}/seen`);
    return (await answer.json()) as { carriedOut: CarriedOut[]; attempts: number };
  };
  const shelf = createShelf(localStorage, userKey);
  return { userKey, url, open, fates, seen, empty: () => until(() => !shelf.all().length, 20_000) };
}

const bodies = (all: readonly CarriedOut[]) => all.map(({ body }) => (body as { n: number }).n);

test('two hundred of two hundred, each once, in order: over lost replies, errors and reloads', async () => {
  const { url, open, fates, seen, empty } = setup();
  const seed = 20_261_121;
  const fate = fc.constantFrom<Fate>('ok', 'ok', 'lost-before', 'lost-reply', 503, 429);
  const [first] = fc.sample(fc.array(fate, { minLength: 250, maxLength: 250 }), {
    numRuns: 1,
    seed,
  });
  await fates(...(first as Fate[]));
  let outbox = open();
  const keys: string[] = [];
  for (let n = 0; n < 200; n++) {
    keys.push(outbox.send({ url, body: { n } }));
    // Requests under way are left behind, their replies unread.
    if (n % 23 === 22) {
      await new Promise((resolve) => real(resolve, 15));
      outbox.close();
      outbox = open();
    }
  }
  await empty();
  const { carriedOut, attempts } = await seen();
  expect(bodies(carriedOut)).toEqual(keys.map((_, n) => n));
  expect(carriedOut.map(({ key }) => key)).toEqual(keys);
  expect(attempts).toBeGreaterThan(250);
}, 60_000);

test('two tabs send what both hand over, each once; both show what waits', async () => {
  const { url, open, fates, seen, empty } = setup();
  await fates('lost-before', 'lost-reply', 503);
  const [one, two] = [open(), open()];
  const keys = Array.from({ length: 20 }, (_, n) => (n % 2 ? one : two).send({ url, body: { n } }));
  expect(one.getSnapshot().waiting.map(({ key }) => key)).toEqual(keys);
  await empty();
  expect((await seen()).carriedOut.map(({ key }) => key)).toEqual(keys);
});

test('what the server refuses is told and does not stand in the way; what it answers is told too', async () => {
  const { url, open, fates, seen, empty } = setup();
  await fates(422);
  const told: string[] = [];
  const outbox = open({
    onSent: ({ key }, { status }) => told.push(`sent ${key} ${status}`),
    onRefused: ({ key }, { status }) => told.push(`refused ${key} ${status}`),
  });
  const [bad, good] = [1, 2].map((n) => outbox.send({ url, method: 'PUT', body: { n } }));
  await empty();
  await until(() => told.length === 2);
  expect(told).toEqual([`refused ${bad} 422`, `sent ${good} 200`]);
  expect(bodies((await seen()).carriedOut)).toEqual([2]);
});

test('a token is asked for with every attempt and never stored; signed out, it waits to be told', async () => {
  const { url, open, fates, seen, empty } = setup();
  await fates(503, 401);
  let token = 0;
  const outbox = open({ headers: () => ({ authorization: `Bearer secret-${++token}` }) });
  outbox.send({ url, body: { n: 1 } });
  await until(() => outbox.getSnapshot().status === 'signed-out');
  expect(JSON.stringify(localStorage)).not.toContain('secret');
  outbox.retryNow();
  await empty();
  expect((await seen()).carriedOut[0]?.authorization).toBe('Bearer secret-3');
});

test('it is bounded, and what does not fit was not handed over', async () => {
  const { url, open } = setup();
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('offline')));
  const outbox = open({ max: 3 });
  for (const n of [1, 2, 3]) outbox.send({ url, body: { n } });
  expect(() => outbox.send({ url, body: { n: 4 } })).toThrow(RangeError);
  expect(outbox.getSnapshot().waiting).toHaveLength(3);
  const full = vi.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
    throw new DOMException('full', 'QuotaExceededError');
  });
  onTestFinished(() => full.mockRestore());
  const other = open({ max: 9 });
  expect(() => other.send({ url, body: { n: 4 } })).toThrow(DOMException);
  expect(other.getSnapshot().waiting).toHaveLength(3);
});

test('without a network it says how many wait, and sends them when there is one again', async () => {
  clean();
  styled();
  const { url, open, seen, empty } = setup();
  const network = vi.fn(() => Promise.reject(new TypeError('offline')));
  const online = fetch;
  vi.stubGlobal('fetch', network);
  const outbox = open();
  const detach = attachOutbox(outbox, document.body);
  onTestFinished(detach);
  for (const n of [1, 2]) outbox.send({ url, body: { n } });
  const notice = document.querySelector('.milepost-connection') as HTMLElement;
  await until(() => notice.textContent === 'Not sent yet: 2');
  expect(outbox.getSnapshot().status).not.toBe('empty');
  vi.stubGlobal('fetch', online);
  dispatchEvent(new Event('online'));
  await empty();
  await until(() => !notice.textContent);
  expect(bodies((await seen()).carriedOut)).toEqual([1, 2]);
  expect(outbox.getSnapshot()).toEqual({ waiting: [], status: 'empty', failures: 0 });
});

test('another user’s requests are neither sent nor seen; forgetting wipes one’s own', async () => {
  const { url, open, userKey } = setup();
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('offline')));
  const outbox = open();
  outbox.send({ url, body: { n: 1 } });
  const other = createOutbox({ userKey: `${userKey}0` });
  onTestFinished(other.close);
  expect(other.getSnapshot().status).toBe('empty');
  other.send({ url, body: { n: 2 } });
  outbox.forget();
  expect(outbox.getSnapshot().waiting).toEqual([]);
  expect(other.getSnapshot().waiting).toHaveLength(1);
});
