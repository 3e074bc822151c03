import type { AppNotification, Client, Unsubscribe } from '../core/types.ts';
import { announce, holdAnnouncer } from './announcer.ts';
import { all, el, icon, nextId, safeHref, setText } from './dom.ts';
import { fill, type Labels, labelsOf } from './labels.ts';
import { since } from './since.ts';

export interface InboxOptions {
  readonly labels?: Partial<Labels>;
}

interface Row {
  readonly root: HTMLElement;
  draw(item: AppNotification): void;
}

/** The inbox, of which a bell has one too. Who hides or shows it calls `draw`. */
export function inbox(client: Client, options: InboxOptions, role: 'dialog' | 'region') {
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
  const root = el(
    'div',
    'inbox',
    { id: nextId(), role, 'aria-label': labels.bell },
    el('div', 'inbox-head', {}, heading, allRead),
    problem,
    list,
    empty,
    older,
  );

  async function run(action: Promise<{ readonly ok: boolean }>): Promise<void> {
    const { ok } = await action;
    setText(problem, ok ? '' : labels.actionFailed);
    if (!ok) announce('inbox-problem', labels.actionFailed);
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

  function draw(): void {
    // What nobody sees need not be drawn; what was said before is over.
    if (root.hidden) return setText(problem, '');
    const { items, unreadCount, hasMore, status } = store.getSnapshot();
    drawList(items);
    setText(empty, items.length ? '' : status === 'ready' ? labels.empty : labels.loading);
    older.hidden = !hasMore;
    allRead.hidden = !unreadCount;
  }

  return {
    labels,
    root,
    heading,
    draw,
    detach: all(holdAnnouncer(), store.subscribe(draw), () => root.remove()),
  };
}

/** The newest notifications in `target`: to read, to mark as read, to archive, and the older ones on demand. */
export function attachInbox(
  client: Client,
  target: Element,
  options: InboxOptions = {},
): Unsubscribe {
  const { root, draw, detach } = inbox(client, options, 'region');
  target.append(root);
  draw();
  return detach;
}
