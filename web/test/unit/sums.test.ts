import { expect, test } from 'vitest';
import { createSums } from '../../src/analytics/sums.ts';

const NOTHING = {
  reconnections: {},
  transports: {},
  actions: {},
  delays: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  delay_seconds: 0,
};
const taken = (sums: ReturnType<typeof createSums>, wanted = false) =>
  JSON.parse(sums.take(wanted) ?? 'null');

test('what is counted is in one report, and in no other', () => {
  const sums = createSums();
  expect(sums.take(false)).toBeUndefined();
  expect(taken(sums, true)).toEqual(NOTHING);
  sums.count('reconnections', 'network');
  sums.count('reconnections', 'network');
  sums.count('transports', 'poll');
  expect(taken(sums)).toEqual({
    ...NOTHING,
    reconnections: { network: 2 },
    transports: { poll: 1 },
  });
  expect(sums.take(false)).toBeUndefined();
  sums.count('actions', 'notified');
  expect(taken(sums)).toEqual({ ...NOTHING, actions: { notified: 1 } });
});

test('delays fall into buckets whose ends are inclusive; over an hour is no delay', () => {
  const sums = createSums();
  for (const seconds of [0, 0.05, 0.0501, 60, 60.5, 3600, 3600.1, Number.NaN]) sums.delay(seconds);
  const { delays, delay_seconds } = taken(sums);
  expect(delays).toEqual([2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
  expect(delay_seconds).toBeCloseTo(0.05 + 0.0501 + 60 + 60.5 + 3600);
});

test('a report is small, however much there was', () => {
  const sums = createSums();
  const reasons = [
    ...['network', 'timeout', 'silent', 'http', 'protocol', 'completed', 'failed', 'cancelled'],
    ...['token_expired', 'revoked', 'shutdown', 'overloaded', 'rate_limited', 'replaced'],
  ];
  for (let n = 0; n < 9999; n++) {
    for (const reason of reasons) sums.count('reconnections', reason);
    for (const name of ['sse', 'long-poll', 'poll']) sums.count('transports', name);
    for (const name of ['notified', 'toast_clicked', 'inbox_opened']) sums.count('actions', name);
    sums.delay((n % 130) / 2.1);
  }
  expect(sums.take(false)?.length).toBeLessThan(1000);
});
