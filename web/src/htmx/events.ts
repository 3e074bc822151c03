import type { AppNotification, Client, Unsubscribe } from '../core/types.ts';
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

/**
 * Events for server-rendered pages, one round per fresh notification. On the window: `toast` {type, text, href},
 * `notification:created`, and `document:activity` or `job:activity` where its context names one. On the
 * elements of the page, for `hx-trigger`: `refreshDocument` and `refreshJob` on `data-document-detail` and
 * `data-job-detail` with that id, `refreshDocuments` and `refreshJobs` on `data-documents-page` and
 * `data-jobs-page`; on all of them when everything had to be read again.
 */
export function attachDomEvents(client: Client, options: DomEventOptions = {}): Unsubscribe {
  const { documentUrl, jobUrl } = options;
  const routes = {
    document: documentUrl ?? '/dashboard/documents/{document_id}',
    job: jobUrl ?? '/dashboard/jobs/{job_id}',
  };
  const fire = (type: string, detail: unknown) =>
    window.dispatchEvent(new CustomEvent(type, { detail }));

  const told = new WeakSet<Element>();
  const timers = new Set<ReturnType<typeof setTimeout>>();
  function refresh(type: string, selector: string, detail: unknown): void {
    for (const element of document.querySelectorAll(selector)) {
      if (told.has(element)) continue;
      told.add(element);
      // The last of several has to be among what the element then reads: it is told after them.
      const timer = setTimeout(() => {
        timers.delete(timer);
        told.delete(element);
        element.dispatchEvent(new CustomEvent(type, { detail, bubbles: true }));
      }, APART_MS);
      timers.add(timer);
    }
  }

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
    }
    const type = level === 'error' || level === 'success' ? level : 'info';
    fire('toast', { type, text, href: href || null });
    fire('notification:created', notification);
    for (const kind of named) fire(`${kind}:activity`, notification);
  }

  return all(
    client.on('notification.created', onCreated),
    client.on('resynced', (detail) => {
      for (const { kind, one, every } of KINDS) {
        refresh(one, `[data-${kind}-detail]`, detail);
        refresh(every, `[data-${kind}s-page]`, detail);
      }
    }),
    () => {
      for (const timer of timers) clearTimeout(timer);
    },
  );
}
