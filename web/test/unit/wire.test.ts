import fc from 'fast-check';
import { expect, test } from 'vitest';
import { reaches } from '../../src/core/cursor.ts';
import { fields, readDelivery, readPage } from '../../src/core/wire.ts';

test('no JSON, however odd, makes the reader throw', () => {
  const type = fc.constantFrom('job', 'notification', 'inbox', 'live', 'heartbeat', 'reset', 'x');
  fc.assert(
    fc.property(type, fc.jsonValue(), (type, data) => {
      readDelivery(type, data, null);
      readDelivery(type, { [type]: data }, 'e.1.t');
      readPage(fields(data));
      readPage(fields({ changes: [data, { job: data }, { inbox: data }], cursor: data }));
    }),
  );
});

test('an event takes its cursor from its own id, else from its data', () => {
  expect(readDelivery('heartbeat', { cursor: 'e.7.t' }, null)).toMatchObject({
    type: 'heartbeat',
    cursor: 'e.7.t',
  });
  expect(readDelivery('live', { cursor: 'e.7.t' }, 'e.8.t')).toMatchObject({ cursor: 'e.8.t' });
});

test('unknown events are nothing; unknown fields pass through', () => {
  expect(readDelivery('later.invention', {}, null)).toBeNull();
  const job = { id: 'a', rev: 1, brand_new: 5 };
  expect(readDelivery('job', { job }, null)).toMatchObject({ job });
});

test('the last page is followed by "live" with the count; one with more to come is not', () => {
  const changes = [{ cursor: 'e.1.t', job: { id: 'a', rev: 1 } }];
  const types = (page: object) => readPage(fields(page))?.map(({ type }) => type);
  const page = { changes, cursor: 'e.1.t', more: false, reset: null, unread: 2 };
  expect(types(page)).toEqual(['job', 'live']);
  expect(readPage(fields(page))?.at(-1)).toMatchObject({ unread: 2, asOf: 'e.1.t' });
  expect(types({ ...page, more: true })).toEqual(['job']);
  expect(types({ ...page, reset: 'epoch' })).toEqual(['reset', 'job', 'live']);
  expect(readPage(fields('<html>'))).toBeNull();
});

test('cursors compare by revision within an epoch and not at all across', () => {
  expect(reaches('e1.5.t', 'e1.5.t')).toBe(true);
  expect(reaches('e1.17.t', 'e1.5.t')).toBe(true);
  expect(reaches('e1.4.t', 'e1.5.t')).toBe(false);
  expect(reaches('e2.9.t', 'e1.5.t')).toBe(false);
  for (const odd of [null, '', 'e1', 'e1.x.t']) {
    expect(reaches(odd, 'e1.5.t')).toBe(false);
    expect(reaches('e1.5.t', odd)).toBe(false);
    expect(reaches(odd, odd)).toBe(false);
  }
});
