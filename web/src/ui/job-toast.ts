import type { JobSnapshot } from '../core/types.ts';
import { safeHref } from './dom.ts';
import { fill, type LabelName, type Labels } from './labels.ts';
import type { ToastModel, Tone } from './renderer.ts';

export type ToastContent = Omit<ToastModel, 'autoDismissMs'>;

/** How a job can end. */
export const ENDS: Readonly<Partial<Record<JobSnapshot['state'], Tone>>> = {
  completed: 'success',
  failed: 'error',
  cancelled: 'info',
};

/** A job in the words of a toast. */
export function jobToast(job: JobSnapshot, labels: Labels): ToastContent {
  const { id, state, current, total, eta_seconds: eta, error, output_url } = job;
  const title = job.title || labels.job;
  const tone = ENDS[state] ?? 'progress';
  const note = [
    (total !== null || current) && countOf(job, labels),
    eta &&
      fill(eta < 90 ? labels.seconds : labels.minutes, { n: Math.ceil(eta < 90 ? eta : eta / 60) }),
  ];
  return {
    id: `job:${id}`,
    tone,
    title,
    text: textOf(job, labels),
    code: tone === 'error' ? (error?.code ?? 'UNEXPECTED') : undefined,
    action: tone === 'success' ? linkTo(output_url, labels.openResult, title) : undefined,
    progress:
      tone === 'progress'
        ? {
            value: total && current,
            max: total ?? 1,
            note: note.filter(Boolean).join(' · '),
          }
        : undefined,
  };
}

/** What the job itself says, where it can, else the name of its state. Running needs no name. */
export function textOf({ state, message, error }: JobSnapshot, labels: Labels): string {
  const own =
    state === 'failed' ? error?.message : state !== 'stalled' && state !== 'cancelled' && message;
  return own || (labels as Partial<Labels>)[state as LabelName] || '';
}

export const countOf = ({ current, total }: JobSnapshot, labels: Labels): string =>
  fill(total === null ? labels.progressUnknown : labels.progress, { current, total });

/** Only where it is safe to follow. */
export function linkTo(href: string | null, label: string, title: string): ToastModel['action'] {
  const safe = safeHref(href);
  return safe ? { href: safe, label, name: `${label}: ${title}` } : undefined;
}
