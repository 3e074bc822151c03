import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { pausableTimers } from '../../src/ui/timers.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('a timer stands still while there is any reason to wait, and goes on with what was left', () => {
  const timers = pausableTimers();
  const fire = vi.fn();
  timers.set('a', 6000, fire);
  vi.advanceTimersByTime(5000);
  timers.hold('pointer', true);
  timers.hold('focus', true);
  vi.advanceTimersByTime(60_000);
  timers.hold('pointer', false);
  vi.advanceTimersByTime(60_000);
  expect(fire).not.toHaveBeenCalled();
  timers.hold('focus', false);
  vi.advanceTimersByTime(999);
  expect(fire).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(fire).toHaveBeenCalledOnce();
});

test('one that starts during a pause waits; Infinity never fires', () => {
  const timers = pausableTimers();
  const [fire, never] = [vi.fn(), vi.fn()];
  timers.hold('hidden', true);
  timers.set('a', 10, fire);
  timers.set('b', Number.POSITIVE_INFINITY, never);
  vi.advanceTimersByTime(1000);
  expect(fire).not.toHaveBeenCalled();
  timers.hold('hidden', false);
  vi.advanceTimersByTime(2 ** 31);
  expect(fire).toHaveBeenCalledOnce();
  expect(never).not.toHaveBeenCalled();
});
