import type { AppNotification, Client, Unsubscribe } from '../core/types.ts';
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
  const {
    documentUrl = '/dashboard/documents/{document_id}',
    jobUrl = '/dashboard/jobs/{job_id}',
  } = options;
  const fire = (type: string, detail: unknown) =>
    window.dispatchEvent(new CustomEvent(type, { detail }));

  function target({ context, href }: AppNotification): string | null {
    const { document_id, job_id } = context;
    if (typeof context.href === 'string') return context.href;
    if (href) return href;
    if (document_id !== undefined)
      return fill(documentUrl, { document_id: encodeURIComponent(String(document_id)) });
    if (job_id !== undefined) return fill(jobUrl, { job_id: encodeURIComponent(String(job_id)) });
    return null;
  }

  return client.on('notification.created', (notification) => {
    const { level, text, context } = notification;
    const type = level === 'error' || level === 'success' ? level : 'info';
    fire('toast', { type, text, href: target(notification) });
    fire('notification:created', notification);
    if (context.document_id !== undefined) fire('document:activity', notification);
    if (context.job_id !== undefined) fire('job:activity', notification);
  });
}
