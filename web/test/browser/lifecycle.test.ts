import { expect, onTestFinished, test } from 'vitest';
import type { LifecycleEvent } from '../../src/core/types.ts';
import { pageLifecycle } from '../../src/lifecycle/lifecycle.ts';

/** Makes the page look hidden or not; whether the event bubbles differs between browsers. */
function show(state: DocumentVisibilityState, bubbles: boolean): void {
  Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
  document.dispatchEvent(new Event('visibilitychange', { bubbles }));
}

test('what happens to the page is heard once, whether or not it bubbles, until nobody listens', () => {
  onTestFinished(() => {
    // The getter of the prototype is underneath.
    Reflect.deleteProperty(document, 'visibilityState');
  });
  const heard: LifecycleEvent[] = [];
  const leave = pageLifecycle.subscribe((event) => heard.push(event));
  for (const bubbles of [false, true]) {
    show('hidden', bubbles);
    expect(pageLifecycle.isVisible()).toBe(false);
    show('visible', bubbles);
    expect(pageLifecycle.isVisible()).toBe(true);
  }
  for (const event of [
    new Event('online'),
    new PageTransitionEvent('pagehide'),
    new PageTransitionEvent('pageshow', { persisted: false }),
    new PageTransitionEvent('pageshow', { persisted: true }),
  ])
    dispatchEvent(event);
  const twice = ['hidden', 'visible', 'hidden', 'visible'];
  expect(heard).toEqual([...twice, 'online', 'leave', 'visible', 'visible']);
  leave();
  show('hidden', false);
  dispatchEvent(new Event('online'));
  expect(heard).toHaveLength(8);
});
