import type { Client, Unsubscribe } from '../core/types.ts';
import { fill } from './labels.ts';

export interface DomEventOptions {
  /** `{document_id}` is replaced. Default `/dashboard/documents/{document_id}`. */
  readonly documentUrl?: string;
  /** `{job_id}` is replaced. Default `/dashboard/jobs/{job_id}`. */
  readonly jobUrl?: string;
}

/**
 * Window events for server-rendered pages, one round per fresh notification: `toast` {type, text, href},
 * `notification:created`, and `document:activity` or `job:activity` where its context names one.
 */
export function attachDomEvents(client: Client, options: DomEventOptions = {}): Unsubscribe {
  const { documentUrl, jobUrl } = options;
  const routes = {
    document: documentUrl ?? '/dashboard/documents/{document_id}',
    job: jobUrl ?? '/dashboard/jobs/{job_id}',
  };
  const fire = (type: string, detail: unknown) =>
    window.dispatchEvent(new CustomEvent(type, { detail }));

  return client.on('notification.created', (notification) => {
    const { level, text, context } = notification;
    let href = typeof context.href === 'string' ? context.href : notification.href;
    const named: string[] = [];
    for (const [kind, route] of Object.entries(routes)) {
      const id = context[`${kind}_id`];
      if (id === undefined) continue;
      named.push(kind);
      href ||= fill(route, { [`${kind}_id`]: encodeURIComponent(String(id)) });
    }
    const type = level === 'error' || level === 'success' ? level : 'info';
    fire('toast', { type, text, href: href || null });
    fire('notification:created', notification);
    for (const kind of named) fire(`${kind}:activity`, notification);
  });
}
