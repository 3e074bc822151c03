import type { Unsubscribe } from '../core/types.ts';
import { el, followModals, home } from './dom.ts';

/** Screen readers drop what follows too soon. */
const FIRST_MS = 150;
const APART_MS = 3000;

const users = new Set<object>();
const due = new Map<string, string>();
let region: HTMLElement;
let unfollow: Unsubscribe;
let timer: ReturnType<typeof setTimeout> | undefined;
let last: number;

/** The region is there from the first user to the last: it has to exist, empty, before it says something. */
export function holdAnnouncer(): Unsubscribe {
  if (!users.size) {
    region = el('div', 'announcer', { role: 'status' });
    home().append(region);
    unfollow = followModals(region);
    last = Number.NEGATIVE_INFINITY;
  }
  const user = {};
  users.add(user);
  return () => {
    users.delete(user);
    if (users.size) return;
    clearTimeout(timer);
    timer = undefined;
    due.clear();
    unfollow();
    region.remove();
  };
}

/**
 * One polite live region for the page. What is due at the same time becomes one sentence, at most one
 * every three seconds; a newer message about the same thing replaces one that has not been said yet.
 */
export function announce(key: string, text: string): void {
  due.delete(key);
  due.set(key, text);
  timer ??= setTimeout(say, Math.max(FIRST_MS, last + APART_MS - performance.now()));
}

function say(): void {
  timer = undefined;
  last = performance.now();
  const text = [...due.values()].join('. ');
  due.clear();
  // The same text again would not be a change.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}
