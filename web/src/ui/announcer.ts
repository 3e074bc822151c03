import { el, followModals } from './dom.ts';

/** Screen readers drop what follows too soon. */
const FIRST_MS = 150;
const APART_MS = 3000;

/**
 * One polite live region for the page. What is due at the same time becomes one sentence, at most one
 * every three seconds; a newer message about the same thing replaces one that has not been said yet.
 */
export interface Announcer {
  announce(key: string, text: string): void;
  release(): void;
}

let shared: { announcer: Announcer; users: number } | null = null;

/** The page's announcer, made with the first user and removed with the last. */
export function useAnnouncer(): Announcer {
  shared ??= { announcer: create(), users: 0 };
  const own = shared;
  own.users += 1;
  return {
    announce: own.announcer.announce,
    release() {
      if (--own.users > 0) return;
      own.announcer.release();
      if (shared === own) shared = null;
    },
  };
}

function create(): Announcer {
  const region = el('div', 'announcer', { role: 'status' });
  // It has to exist, empty, before it says something.
  document.body.append(region);
  const unfollow = followModals([region]);
  const due = new Map<string, string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = Number.NEGATIVE_INFINITY;

  const say = () => {
    timer = undefined;
    last = performance.now();
    const text = [...due.values()].join('. ');
    due.clear();
    // The same text again would not be a change.
    region.textContent = region.textContent === text ? `${text}\u00a0` : text;
  };
  return {
    announce(key, text) {
      due.delete(key);
      due.set(key, text);
      timer ??= setTimeout(say, Math.max(FIRST_MS, last + APART_MS - performance.now()));
    },
    release() {
      clearTimeout(timer);
      unfollow();
      region.remove();
    },
  };
}
