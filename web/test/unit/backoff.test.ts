import fc from 'fast-check';
import { expect, test } from 'vitest';
import { backoff, MAX_RETRY_AFTER_MS, retryAfter } from '../../src/core/backoff.ts';
import { TIMING } from '../../src/core/client.ts';

const roll = fc.double({ min: 0, max: 1, noNaN: true });

test('the steps are 1, 2, 4, 8 and then 10 s while a job is active, up to 30 s while none is', () => {
  const steps = (list: readonly number[]) =>
    [0, 1, 2, 3, 4, 5, 6, 50].map((attempt) => backoff(list, attempt, 0.3, 0) / 1000);
  expect(steps(TIMING.backoff)).toEqual([1, 2, 4, 8, 10, 10, 10, 10]);
  expect(steps(TIMING.idleBackoff)).toEqual([1, 2, 4, 8, 16, 30, 30, 30]);
});

test('jitter only shortens, to 70 % of the step at least', () => {
  fc.assert(
    fc.property(fc.nat(100), roll, (attempt, roll) => {
      const step = TIMING.backoff[Math.min(attempt, 4)] as number;
      const delay = backoff(TIMING.backoff, attempt, 0.3, roll);
      return delay <= step && delay >= Math.floor(step * 0.7);
    }),
  );
});

test('what the server asks for is never shortened, and never longer than five minutes', () => {
  fc.assert(
    fc.property(fc.nat(10), roll, fc.nat(10_000_000), (attempt, roll, floor) => {
      const delay = backoff(TIMING.backoff, attempt, 0.3, roll, floor);
      return delay >= Math.min(floor, MAX_RETRY_AFTER_MS) && delay <= MAX_RETRY_AFTER_MS;
    }),
  );
});

test('Retry-After is read as seconds or as a date, and rubbish is no answer', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  expect(retryAfter('7', now)).toBe(7000);
  expect(retryAfter('Thu, 01 Jan 2026 00:00:09 GMT', now)).toBe(9000);
  expect(retryAfter('Wed, 31 Dec 2025 00:00:00 GMT', now)).toBeUndefined();
  expect(retryAfter('0', now)).toBeUndefined();
  expect(retryAfter('soon', now)).toBeUndefined();
  expect(retryAfter(null, now)).toBeUndefined();
});
