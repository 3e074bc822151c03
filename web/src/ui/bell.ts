import type { Client, Unsubscribe } from '../core/types.ts';
import { announce } from './announcer.ts';
import { all, el, icon, on, setAttribute, setText } from './dom.ts';
import { type InboxOptions, inbox } from './inbox.ts';
import { fill } from './labels.ts';

/** A badge that talks at every tick is noise. */
const ANNOUNCE_EVERY_MS = 10_000;
/** Between the inbox and the edges of the window, in pixels. */
const MARGIN = 8;

export type BellOptions = InboxOptions;

/** A bell with the number of unread notifications in `target`; it opens the inbox. */
export function attachBell(
  client: Client,
  target: Element,
  options: BellOptions = {},
): Unsubscribe {
  const store = client.notifications;
  const {
    labels,
    root: panel,
    heading,
    draw: drawPanel,
    detach,
  } = inbox(client, options, 'dialog');
  panel.hidden = true;
  const badge = el('span', 'badge', { 'aria-hidden': 'true' });
  const bell = el(
    'button',
    'bell',
    {
      'aria-haspopup': 'dialog',
      'aria-controls': panel.id,
      onclick: () => toggle(!!panel.hidden),
    },
    icon('bell'),
    badge,
  );
  const root = el('div', 'bell-root', {}, bell, panel);
  target.append(root);

  /** The unread ones that are known: what is there on load is no rise. */
  let told = Number.POSITIVE_INFINITY;
  let said = Number.NEGATIVE_INFINITY;

  function draw(): void {
    const { unreadCount, status } = store.getSnapshot();
    const name = unreadCount ? fill(labels.bellUnread, { n: unreadCount }) : labels.bell;
    setText(badge, unreadCount > 99 ? '99+' : `${unreadCount || ''}`);
    setAttribute(bell, 'aria-label', name);
    setAttribute(bell, 'aria-expanded', !panel.hidden);
    if (status !== 'ready') return;
    if (unreadCount > told && performance.now() - said >= ANNOUNCE_EVERY_MS) {
      said = performance.now();
      announce('bell', name);
    }
    told = unreadCount;
  }

  /** Moved as far as it takes to be in the window. */
  function place(): void {
    panel.style.translate = '';
    const { left, right } = panel.getBoundingClientRect();
    const free = document.documentElement.clientWidth - MARGIN - right;
    panel.style.translate = `${Math.max(0, MARGIN - left) || Math.min(0, free)}px`;
  }

  function toggle(open: boolean): void {
    const focused = panel.contains(document.activeElement);
    panel.hidden = !open;
    drawPanel();
    draw();
    if (open) {
      place();
      heading.focus();
    }
    // Without scrolling: a press that closes it is about to become a click where it was made.
    else if (focused) bell.focus({ preventScroll: true });
  }

  on(root, 'keydown', (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || event.defaultPrevented || panel.hidden) return;
    // Not also the newest toast.
    event.preventDefault();
    toggle(false);
  });
  on(root, 'focusout', ({ relatedTarget: to }: FocusEvent) => {
    if (to && !root.contains(to as Node)) toggle(false);
  });
  const end = all(
    detach,
    store.subscribe(draw),
    on(window, 'resize', place),
    on(document, 'pointerdown', (event) => {
      if (!event.composedPath().includes(root)) toggle(false);
    }),
    () => root.remove(),
  );
  draw();
  return end;
}
