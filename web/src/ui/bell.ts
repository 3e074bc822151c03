import type { AppNotification, Client, Unsubscribe } from '../core/types.ts';
import { announce, holdAnnouncer } from './announcer.ts';
import { all, el, icon, nextId, on, safeHref, setAttribute, setText } from './dom.ts';
import { fill, type Labels, labelsOf } from './labels.ts';
import { since } from './since.ts';

/** A badge that talks at every tick is noise. */
const ANNOUNCE_EVERY_MS = 10_000;
/** Between the inbox and the edges of the window, in pixels. */
const MARGIN = 8;

export interface BellOptions {
  readonly labels?: Partial<Labels>;
}

interface Row {
  readonly root: HTMLElement;
  draw(item: AppNotification): void;
}

/** A bell with the number of unread notifications in `target`; it opens the inbox. */
export function attachBell(
  client: Client,
  target: Element,
  options: BellOptions = {},
): Unsubscribe {
  const labels = labelsOf(options.labels);
  const store = client.notifications;
  const rows = new Map<string, Row>();

  const heading = el('h2', 'heading', { tabindex: -1 }, labels.bell);
  const markAllRead = () => {
    heading.focus();
    run(store.markAllRead());
  };
  const allRead = el('button', 'action', { onclick: markAllRead }, labels.markAllRead);
  const problem = el('p', 'problem');
  const list = el('ul', 'inbox-list');
  const empty = el('p', 'empty');
  const loadOlder = () => run(store.loadOlder());
  const older = el('button', 'older', { onclick: loadOlder }, labels.loadOlder);
  const panel = el(
    'div',
    'inbox',
    { id: nextId(), role: 'dialog', 'aria-label': labels.bell, hidden: '' },
    el('div', 'inbox-head', {}, heading, allRead),
    problem,
    list,
    empty,
    older,
  );
  const badge = el('span', 'badge', { 'aria-hidden': 'true' });
  const bell = el(
    'button',
    'bell',
    {
      'aria-haspopup': 'dialog',
      'aria-controls': panel.id,
      'aria-expanded': 'false',
      onclick: () => toggle(!!panel.hidden),
    },
    icon('bell'),
    badge,
  );
  const root = el('div', 'bell-root', {}, bell, panel);
  target.append(root);

  async function run(action: Promise<{ readonly ok: boolean }>): Promise<void> {
    const { ok } = await action;
    setText(problem, ok ? '' : labels.actionFailed);
    if (!ok) announce('bell-problem', labels.actionFailed);
  }

  /** Only whether it is read, and how long ago it was, will change: the rest is written once. */
  function row({ id, title, text, level, href: to, created_at }: AppNotification): Row {
    const name = title || text;
    const href = safeHref(to);
    const unread = el('span', 'hidden');
    const open = el(
      href ? 'a' : 'button',
      'row',
      {
        href,
        onclick: () => {
          if ('unread' in root.dataset) run(store.markRead(id));
        },
      },
      unread,
      el('span', 'title', { dir: 'auto' }, name),
      el('span', 'text', { dir: 'auto' }, text === name ? '' : text),
    );
    const time = el('time', 'note', { datetime: created_at });
    const archive = () => {
      const next = root.nextElementSibling ?? root.previousElementSibling;
      ((next?.firstElementChild ?? heading) as HTMLElement).focus();
      run(store.archive(id));
    };
    const label = fill(labels.archive, { title: name });
    const close = el('button', 'close', { 'aria-label': label, onclick: archive }, icon('close'));
    const root = el('li', 'item', { 'data-tone': level }, open, time, close);
    return {
      root,
      draw({ status }) {
        const is = status === 'unread';
        setText(unread, is ? `${labels.unread} ` : '');
        root.toggleAttribute('data-unread', is);
        setText(time, since(created_at));
      },
    };
  }

  function drawList(items: readonly AppNotification[]): void {
    const kept = new Set(items.map(({ id }) => id));
    for (const [id, { root }] of rows)
      if (!kept.has(id)) {
        root.remove();
        rows.delete(id);
      }
    items.forEach((item, place) => {
      const now = rows.get(item.id) ?? row(item);
      rows.set(item.id, now);
      now.draw(item);
      // Rows that are in their place already are not touched: moving one would take its focus away.
      const there = list.children[place];
      if (there !== now.root) list.insertBefore(now.root, there ?? null);
    });
  }

  /** The unread ones that are known: what is there on load is no rise. */
  let told = Number.POSITIVE_INFINITY;
  let said = Number.NEGATIVE_INFINITY;

  function draw(): void {
    const { items, unreadCount, hasMore, status } = store.getSnapshot();
    const ready = status === 'ready';
    const name = unreadCount ? fill(labels.bellUnread, { n: unreadCount }) : labels.bell;
    setText(badge, unreadCount > 99 ? '99+' : `${unreadCount || ''}`);
    setAttribute(bell, 'aria-label', name);
    if (ready) {
      if (unreadCount > told && performance.now() - said >= ANNOUNCE_EVERY_MS) {
        said = performance.now();
        announce('bell', name);
      }
      told = unreadCount;
    }
    // What nobody sees need not be drawn.
    if (panel.hidden) return;
    drawList(items);
    setText(empty, items.length ? '' : ready ? labels.empty : labels.loading);
    older.hidden = !hasMore;
    allRead.hidden = !unreadCount;
  }

  /** Moved as far as it takes to be in the window. */
  function place(): void {
    panel.style.translate = '';
    const { left, right } = panel.getBoundingClientRect();
    const free = document.documentElement.clientWidth - MARGIN - right;
    panel.style.translate = `${Math.max(0, MARGIN - left) || Math.min(0, free)}px`;
  }

  function toggle(open: boolean): void {
    if (open === !panel.hidden) return;
    const focused = panel.contains(document.activeElement);
    panel.hidden = !open;
    setAttribute(bell, 'aria-expanded', `${open}`);
    if (open) {
      setText(problem, '');
      draw();
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
  const detach = all(
    holdAnnouncer(),
    store.subscribe(draw),
    on(window, 'resize', place),
    on(document, 'pointerdown', (event) => {
      if (!event.composedPath().includes(root)) toggle(false);
    }),
    () => root.remove(),
  );
  draw();
  return detach;
}
