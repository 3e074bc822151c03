import type { AppNotification, Client, Unsubscribe } from '../core/types.ts';
import { useAnnouncer } from './announcer.ts';
import { button, el, ICONS, icon, nextId, safeHref, setAttribute, setText } from './dom.ts';
import { fill, type Labels, labelsOf } from './labels.ts';
import { since } from './since.ts';

/** A badge that talks at every tick is noise. */
const ANNOUNCE_EVERY_MS = 10_000;

export interface BellOptions {
  readonly labels?: Partial<Labels>;
}

interface Row {
  readonly root: HTMLLIElement;
  readonly item: AppNotification;
  readonly time: HTMLTimeElement;
}

/** A bell with the number of unread notifications in `target`; it opens the inbox. */
export function attachBell(
  client: Client,
  target: Element,
  options: BellOptions = {},
): Unsubscribe {
  const labels = labelsOf(options.labels);
  const announcer = useAnnouncer();
  const store = client.notifications;
  const panelId = nextId();
  const headingId = nextId();

  const badge = el('span', 'badge', { 'aria-hidden': 'true' });
  const bell = button('bell', icon(ICONS.bell), badge);
  bell.setAttribute('aria-haspopup', 'dialog');
  bell.setAttribute('aria-expanded', 'false');
  bell.setAttribute('aria-controls', panelId);
  const allRead = button('action', labels.markAllRead);
  const list = el('ul', 'inbox-list');
  const empty = el('p', 'empty');
  const older = button('older', labels.loadOlder);
  const problem = el('p', 'problem');
  const heading = el('h2', 'heading', { id: headingId, tabindex: '-1' }, labels.bell);
  const panel = el(
    'div',
    'inbox',
    { id: panelId, role: 'dialog', 'aria-labelledby': headingId },
    el('div', 'inbox-head', {}, heading, allRead),
    problem,
    list,
    empty,
    older,
  );
  panel.hidden = true;
  const root = el('div', 'bell-root', {}, bell, panel);
  target.append(root);

  const rows = new Map<string, Row>();
  let said = Number.NEGATIVE_INFINITY;
  let told: number | null = null;

  async function run(action: Promise<{ readonly ok: boolean }>): Promise<void> {
    const { ok } = await action;
    setText(problem, ok ? '' : labels.actionFailed);
    problem.hidden = ok;
    if (!ok) announcer.announce('bell-problem', labels.actionFailed);
  }

  function row(item: AppNotification): Row {
    const { id, title, text, level, created_at } = item;
    const unread = item.status === 'unread';
    const heading = title || text;
    const name: (Node | string)[] = [];
    if (unread) name.push(el('span', 'hidden', {}, `${labels.unread} `));
    name.push(el('span', 'title', { dir: 'auto' }, heading));
    if (text !== heading) name.push(el('span', 'text', { dir: 'auto' }, text));
    const href = safeHref(item.href);
    const open = href ? el('a', 'row', { href }, ...name) : button('row', ...name);
    open.addEventListener('click', () => {
      if (store.getSnapshot().items.find((now) => now.id === id)?.status === 'unread')
        void run(store.markRead(id));
    });
    const time = el('time', 'note', { datetime: created_at });
    setText(time, since(created_at, Date.now()));
    const archive = button('close', icon(ICONS.close));
    archive.setAttribute('aria-label', fill(labels.archive, { title: heading }));
    archive.addEventListener('click', () => {
      const next = root.nextElementSibling ?? root.previousElementSibling;
      (next?.querySelector<HTMLElement>('.milepost-row') ?? panel.querySelector('h2'))?.focus();
      void run(store.archive(id));
    });
    const root = el('li', 'item', { 'data-tone': level }, open, time, archive);
    if (unread) root.dataset.unread = '';
    return { root, item, time };
  }

  function drawList(items: readonly AppNotification[]): void {
    const kept = new Set(items.map(({ id }) => id));
    for (const [id, { root }] of rows)
      if (!kept.has(id)) {
        root.remove();
        rows.delete(id);
      }
    for (const [place, item] of items.entries()) {
      const known = rows.get(item.id);
      const now = known?.item === item ? known : row(item);
      rows.set(item.id, now);
      if (known && known !== now) {
        const focused = known.root.contains(document.activeElement);
        known.root.replaceWith(now.root);
        if (focused) now.root.querySelector<HTMLElement>('.milepost-row')?.focus();
      }
      // Rows that are in their place already are not touched: moving one would take its focus away.
      const there = list.children[place];
      if (there !== now.root) list.insertBefore(now.root, there ?? null);
    }
  }

  function draw(): void {
    const { items, unreadCount, hasMore, status } = store.getSnapshot();
    setText(badge, unreadCount > 99 ? '99+' : String(unreadCount));
    badge.hidden = unreadCount === 0;
    const name = unreadCount ? fill(labels.bellUnread, { n: unreadCount }) : labels.bell;
    setAttribute(bell, 'aria-label', name);
    announce(unreadCount, status === 'ready');
    // What nobody sees need not be drawn.
    if (panel.hidden) return;
    drawList(items);
    setText(empty, status === 'ready' ? labels.empty : labels.loading);
    empty.hidden = items.length > 0;
    older.hidden = !hasMore;
    allRead.hidden = unreadCount === 0;
  }

  function announce(unread: number, ready: boolean): void {
    if (!ready || unread === told) return;
    const rises = told !== null && unread > told;
    told = unread;
    if (!rises || performance.now() - said < ANNOUNCE_EVERY_MS) return;
    said = performance.now();
    announcer.announce('bell', fill(labels.bellUnread, { n: unread }));
  }

  function place(): void {
    panel.style.translate = '';
    const { left, right } = panel.getBoundingClientRect();
    const over = right - (document.documentElement.clientWidth - 8);
    const shift = left < 8 ? 8 - left : over > 0 ? -over : 0;
    if (shift) panel.style.translate = `${shift}px`;
  }

  function open(): void {
    if (!panel.hidden) return;
    panel.hidden = false;
    bell.setAttribute('aria-expanded', 'true');
    draw();
    for (const { time, item } of rows.values()) setText(time, since(item.created_at, Date.now()));
    place();
    heading.focus();
  }

  function close(): void {
    if (panel.hidden) return;
    const focused = panel.contains(document.activeElement);
    panel.hidden = true;
    problem.hidden = true;
    bell.setAttribute('aria-expanded', 'false');
    if (focused) bell.focus();
  }

  const onOutside = (event: Event) => {
    if (!event.composedPath().includes(root)) close();
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || event.defaultPrevented || panel.hidden) return;
    // Not also the newest toast.
    event.preventDefault();
    close();
  };
  const onFocusOut = (event: FocusEvent) => {
    const to = event.relatedTarget;
    if (to instanceof Node && !root.contains(to)) close();
  };

  problem.hidden = true;
  bell.addEventListener('click', () => (panel.hidden ? open() : close()));
  allRead.addEventListener('click', () => {
    heading.focus();
    void run(store.markAllRead());
  });
  older.addEventListener('click', () => void run(store.loadOlder()));
  root.addEventListener('keydown', onKey);
  root.addEventListener('focusout', onFocusOut);
  document.addEventListener('pointerdown', onOutside);
  window.addEventListener('resize', place);
  const unsubscribe = store.subscribe(draw);
  draw();

  return () => {
    unsubscribe();
    document.removeEventListener('pointerdown', onOutside);
    window.removeEventListener('resize', place);
    root.remove();
    announcer.release();
  };
}
