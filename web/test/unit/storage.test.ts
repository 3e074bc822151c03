import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createVault, memoryStorage, type StoredJob } from '../../src/storage/storage.ts';

const MINUTE = 60_000;
const clock = { now: 1_000_000_000 };
beforeEach(() => void vi.spyOn(Date, 'now').mockImplementation(() => clock.now));
afterEach(() => void vi.restoreAllMocks());
const vault = (storage = memoryStorage(), userKey = 'u', first = true) =>
  createVault(
    storage,
    userKey,
    () => {},
    async () => first,
  );
const job = (fields: Partial<StoredJob> = {}): StoredJob => ({
  state: 'running',
  attempt: 1,
  rev: 5,
  current: 3,
  total: 9,
  percent: 33.3,
  at: clock.now,
  ...fields,
});

test('a tracked job comes back; after 15 minutes it is only worth a question to the server', () => {
  const storage = memoryStorage();
  vault(storage).saveJobs(new Map([['a', job()]]));
  expect(vault(storage).jobs()).toEqual([['a', { ...job(), expired: false }]]);
  clock.now += 15 * MINUTE + 1;
  expect(vault(storage).jobs()[0]?.[1]).toMatchObject({ expired: true });
});

test('an ended job is remembered for a minute, so that its toast survives a reload', () => {
  const storage = memoryStorage();
  vault(storage).saveJobs(new Map([['a', job({ state: 'completed' })]]));
  expect(vault(storage).jobs()).toHaveLength(1);
  clock.now += MINUTE + 1;
  expect(vault(storage).jobs()).toHaveLength(0);
});

test('two tabs that save do not take away what the other saved', () => {
  const storage = memoryStorage();
  const [one, two] = [vault(storage), vault(storage)];
  one.saveJobs(new Map([['a', job()]]));
  two.saveJobs(new Map([['b', job()]]));
  one.saveJobs(new Map([['a', null]]));
  expect(
    vault(storage)
      .jobs()
      .map(([id]) => id),
  ).toEqual(['b']);
});

test('the fifty newest jobs are kept', () => {
  const storage = memoryStorage();
  for (let i = 0; i < 60; i++) vault(storage).saveJobs(new Map([[`j${i}`, job()]]));
  expect(
    vault(storage)
      .jobs()
      .map(([id]) => id),
  ).toEqual(Array.from({ length: 50 }, (_, i) => `j${i + 10}`));
});

test('a toast is claimed by one tab only, for 15 minutes', async () => {
  const storage = memoryStorage();
  expect(await vault(storage).claim('note:1')).toBe(true);
  expect(await vault(storage).claim('note:1')).toBe(false);
  expect(vault(storage).has('note:1')).toBe(true);
  clock.now += 15 * MINUTE + 1;
  expect(await vault(storage).claim('note:1')).toBe(true);
  // Another tab did at the same moment.
  expect(await vault(storage, 'u', false).claim('note:2')).toBe(false);
});

test('an entry of the future, left by a clock that was set back, counts as expired', () => {
  const storage = memoryStorage();
  vault(storage).cursor = 'e.5.t';
  expect(vault(storage).cursor).toBe('e.5.t');
  clock.now -= 2 * MINUTE;
  expect(vault(storage).cursor).toBeNull();
  clock.now += 2 * MINUTE;
});

test('another user reads nothing of it, and forgetting wipes one user only', () => {
  const storage = memoryStorage();
  for (const user of ['u', 'v']) vault(storage, user).cursor = `${user}.1.t`;
  expect(vault(storage, 'w').cursor).toBeNull();
  vault(storage, 'u').forget();
  expect(vault(storage, 'u').cursor).toBeNull();
  expect(vault(storage, 'v').cursor).toBe('v.1.t');
});

test('no title, message or URL is ever written', () => {
  const written: string[] = [];
  const storage = {
    ...memoryStorage(),
    setItem: (_: string, value: string) => written.push(value),
  };
  const open = vault(storage);
  open.saveJobs(new Map([['a', job()]]));
  open.cursor = 'e.1.t';
  void open.claim('note:1');
  open.setOpen(['note:1']);
  for (const text of written)
    expect(Object.keys(JSON.parse(text).a ?? {}).sort()).toEqual(
      text.includes('attempt')
        ? ['at', 'attempt', 'current', 'percent', 'rev', 'state', 'total']
        : [],
    );
});

test('storage that throws, is full or holds rubbish only means to remember less', async () => {
  const broken = {
    getItem: () => {
      throw new DOMException('no', 'SecurityError');
    },
    setItem: () => {
      throw new DOMException('full', 'QuotaExceededError');
    },
    removeItem: () => {
      throw new DOMException('no', 'SecurityError');
    },
  };
  const use = async (storage: ReturnType<typeof memoryStorage>) => {
    const v = vault(storage);
    v.saveJobs(new Map([['a', job()]]));
    v.cursor = 'e.1.t';
    v.rung = 1;
    v.setOpen(['x']);
    const read = [v.cursor, v.jobs(), await v.claim('x'), v.has('x'), v.open(), v.rung];
    v.forget();
    return read;
  };
  expect(await use(broken)).toEqual([null, [], true, false, [], 0]);
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.string(), fc.json()), async (rubbish) => {
      const storage = { ...memoryStorage(), getItem: () => rubbish };
      await use(storage);
    }),
    // What cannot even be turned into a string or a number.
    {
      examples: [
        '{"a":{"toString":0}}',
        `{"value":{"toString":0},"at":${Date.now()}}`,
        `{"a":{"at":${Date.now()},"current":1,"total":{"toString":0}}}`,
      ].map((text) => [text]),
    },
  );
});
