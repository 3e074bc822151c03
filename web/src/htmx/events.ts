import type { AppNotification, Client, JobSnapshot, Unsubscribe } from '../core/types.ts';
import { all } from '../ui/dom.ts';
import { fill } from '../ui/labels.ts';

/** An element is told to read itself again at most once in so long. */
const APART_MS = 250;

export interface DomEventOptions {
  /** `{document_id}` is replaced. Default `/dashboard/documents/{document_id}`. */
  readonly documentUrl?: string;
  /** `{job_id}` is replaced. Default `/dashboard/jobs/{job_id}`. */
  readonly jobUrl?: string;
}

/** The elements that show one document or job, and the pages that list them. */
const KINDS = [
  { kind: 'document', one: 'refreshDocument', every: 'refreshDocuments' },
  { kind: 'job', one: 'refreshJob', every: 'refreshJobs' },
] as const;

/** A job that changed so long before the page was asked for, by clocks that differ, is on the page as it is. */
const CLOCKS_MS = 60_000;
const MAX_SEEN = 1000;
/** What an element shows: `job:ID`, `document:ID`, `jobs`, `notifications`, separated by spaces. */
const SHOWS = 'data-milepost-refresh';
const REFRESH = 'milepost:refresh';

declare global {
  interface HTMLElementEventMap {
    'milepost:refresh': CustomEvent<unknown>;
  }
}

/**
 * Events for server-rendered pages, one round per fresh notification. On the window: `toast` {type, text, href},
 * `notification:created`, and `document:activity` or `job:activity` where its context names one. On the
 * elements of the page, for `hx-trigger`: `refreshDocument` and `refreshJob` on `data-document-detail` and
 * `data-job-detail` with that id, `refreshDocuments` and `refreshJobs` on `data-documents-page` and
 * `data-jobs-page`. And `milepost:refresh` on what says in `data-milepost-refresh` what it shows, when that has
 * changed. All of them are told when everything had to be read again; no element while nobody looks.
 */
export function attachDomEvents(client: Client, options: DomEventOptions = {}): Unsubscribe {
  const { documentUrl, jobUrl } = options;
  const routes = {
    document: documentUrl ?? '/dashboard/documents/{document_id}',
    job: jobUrl ?? '/dashboard/jobs/{job_id}',
  };
  const life = new AbortController();
  const { signal } = life;
  const fire = (type: string, detail: unknown) =>
    window.dispatchEvent(new CustomEvent(type, { detail }));

  /** By element and event: what it is to be told when its time has come. */
  const due = new Map<Element, Map<string, readonly [selector: string, detail: unknown]>>();
  function refresh(type: string, selector: string, detail: unknown): void {
    for (const element of document.querySelectorAll(selector)) {
      const events = due.get(element) ?? new Map();
      events.set(type, [selector, detail]);
      // The last of several has to be among what the element then reads: it is told after them.
      if (!due.has(element)) setTimeout(tell, APART_MS, element);
      due.set(element, events);
    }
  }

  function tell(element: Element): void {
    if (signal.aborted) return;
    if (document.visibilityState === 'hidden') {
      const again = () => tell(element);
      return document.addEventListener('visibilitychange', again, { once: true, signal });
    }
    const events = due.get(element) ?? [];
    due.delete(element);
    for (const [type, [selector, detail]] of events)
      if (element.isConnected)
        element.dispatchEvent(new CustomEvent(type, { detail, bubbles: true }));
      // What has taken its place was perhaps made before.
      else refresh(type, selector, detail);
  }

  const show = (what: string, detail: unknown) =>
    refresh(REFRESH, `[${SHOWS}~="${CSS.escape(what)}"]`, detail);

  function onCreated(notification: AppNotification): void {
    const { level, text, context } = notification;
    let href = typeof context.href === 'string' ? context.href : notification.href;
    const named: string[] = [];
    for (const { kind, one, every } of KINDS) {
      refresh(every, `[data-${kind}s-page]`, notification);
      const id = context[`${kind}_id`];
      if (id === undefined) continue;
      named.push(kind);
      href ||= fill(routes[kind], { [`${kind}_id`]: encodeURIComponent(String(id)) });
      const shows = `[data-${kind}-id="${CSS.escape(String(id))}"]`;
      refresh(one, `[data-${kind}-detail]${shows}`, notification);
      if (kind === 'document') show(`document:${id}`, notification);
    }
    show('notifications', notification);
    const type = level === 'error' || level === 'success' ? level : 'info';
    fire('toast', { type, text, href: href || null });
    fire('notification:created', notification);
    for (const kind of named) fire(`${kind}:activity`, notification);
  }

  /** By job: what has been seen of it. */
  const seen = new Map<string, string>();
  function onJob(job: JobSnapshot): void {
    const { id, state, rev, stale, updated_at } = job;
    if (stale && state !== 'gone') return;
    const before = seen.get(id);
    const now = `${state} ${rev}`;
    seen.delete(id);
    seen.set(id, now);
    for (const oldest of seen.keys()) if (seen.size > MAX_SEEN) seen.delete(oldest);
    const isNew = Date.parse(updated_at) > performance.timeOrigin - CLOCKS_MS;
    if (before === now || (!before && !isNew)) return;
    show(`job:${id}`, job);
    show('jobs', job);
  }

  let inbox: unknown;
  function onInbox(): void {
    const { items, unreadCount, status } = client.notifications.getSnapshot();
    if (status !== 'ready') return;
    const before = inbox;
    inbox = `${unreadCount} ${items.map(({ id, status }) => id + status)}`;
    if (before !== undefined && before !== inbox) show('notifications', { unreadCount });
  }

  return all(
    client.on('notification.created', onCreated),
    client.on('job.updated', onJob),
    client.notifications.subscribe(onInbox),
    client.on('resynced', (detail) => {
      for (const { kind, one, every } of KINDS) {
        refresh(one, `[data-${kind}-detail]`, detail);
        refresh(every, `[data-${kind}s-page]`, detail);
      }
      refresh(REFRESH, `[${SHOWS}]`, detail);
    }),
    () => life.abort(),
  );
}
