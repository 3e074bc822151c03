import fc from 'fast-check';
import { expect, test } from 'vitest';
import { position, reaches } from '../../src/core/cursor.ts';
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
  expect(readDelivery('heartbeat', { cursor: 'e.7.t' }, null)).toEqual({
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

test('the last page is followed by the count and by "live"; one with more to come is not', () => {
  const changes = [{ cursor: 'e.1.t', job: { id: 'a', rev: 1 } }];
  const types = (page: object) => readPage(fields(page))?.deliveries.map(({ type }) => type);
  const page = { changes, cursor: 'e.1.t', more: false, reset: null, unread: 2 };
  expect(types(page)).toEqual(['job', 'inbox', 'live']);
  expect(types({ ...page, more: true })).toEqual(['job']);
  expect(types({ ...page, reset: 'epoch' })).toEqual(['reset', 'job', 'inbox', 'live']);
  expect(readPage(fields('<html>'))).toBeNull();
});

test('cursors compare by revision within an epoch and not at all across', () => {
  const at = (cursor: string) => position(cursor);
  expect(at('e1.17.abc')).toEqual({ epoch: 'e1', revision: 17 });
  for (const odd of ['', 'e1', 'e1.', '.5.t', 'e1.-5.t', 'e1.1e9.t', 'e1.99999999999999999.t'])
    expect(at(odd)).toBeNull();
  expect(reaches(at('e1.5.t'), at('e1.5.t'))).toBe(true);
  expect(reaches(at('e1.4.t'), at('e1.5.t'))).toBe(false);
  expect(reaches(at('e2.9.t'), at('e1.5.t'))).toBe(false);
  expect(reaches(null, at('e1.5.t'))).toBe(false);
});
