import { createElement, type ReactElement, type ReactNode, useEffect, useRef } from 'react';
import type { Client, JobSnapshot, Unsubscribe } from '../core/types.ts';
import { EMPTY_JOB } from '../core/wire.ts';
import {
  attachBell,
  attachConnection,
  attachInbox,
  attachToasts,
  type BellOptions,
  type ConnectionOptions,
  type InboxOptions,
  type Labels,
  type ToastOptions,
} from '../ui/index.ts';
import { jobToast } from '../ui/job-toast.ts';
import { labelsOf } from '../ui/labels.ts';
import { type UseJobProgressOptions, useJobProgress } from './job.ts';
import { useMilepost, useStarted } from './provider.ts';

type Attach<O> = (client: Client, target: Element, options: O) => Unsubscribe;

/** An element of React's in which the client's own elements stand. Their options are read when it comes. */
function useAttached<O>(client: Client, attach: Attach<O>, options: O): ReactElement {
  const target = useRef<Element>(null);
  const first = useRef(options);
  // React has set it before any effect.
  useEffect(() => attach(client, target.current as Element, first.current), [client, attach]);
  return createElement('div', { ref: target });
}

/** A bell with the number of unread notifications; it opens the inbox. */
export const Bell = (options: BellOptions): ReactElement =>
  useAttached(useStarted(), attachBell, options);

/** The inbox, open in the page. */
export const Inbox = (options: InboxOptions): ReactElement =>
  useAttached(useStarted(), attachInbox, options);

/** Says when there is no connection for ten seconds, and when updates come by polling. It does not connect. */
export const ConnectionNotice = (options: ConnectionOptions): ReactElement =>
  useAttached(useMilepost(), attachConnection, options);

/** Toasts for tracked jobs (those of `useJobProgress` are), for fresh notifications and for a lost connection. */
export function Toaster(options: ToastOptions): null {
  const client = useStarted();
  const first = useRef(options);
  useEffect(() => attachToasts(client, first.current), [client]);
  return null;
}

/** Nothing is known of it yet. */
const WAITED_FOR = EMPTY_JOB as JobSnapshot;

export interface JobProgressProps extends UseJobProgressOptions {
  readonly jobId: string | null | undefined;
  readonly labels?: Partial<Labels>;
}

const el = (tag: string, name: string, props: object, ...children: ReactNode[]) =>
  createElement(tag, { className: `milepost-${name}`, ...props }, ...children);

/** One job: its title, a bar, what it says; in the end the link to its output, or the error. */
export function JobProgress({ jobId, labels, ...options }: JobProgressProps): ReactElement | null {
  const { progress: job, progressPercent, error, isFailed } = useJobProgress(jobId, options);
  const { tone, title, text, code, progress, action } = jobToast(
    job ?? WAITED_FOR,
    labelsOf(labels),
  );
  const { note, ...bar } = progress ?? {};
  const said = { dir: 'auto' };
  if (!jobId) return null;
  return el(
    'div',
    'progress',
    { 'data-tone': isFailed && !job ? 'error' : tone },
    el('p', 'title', said, title),
    el('p', 'percent', said, progressPercent !== null && `${Math.floor(progressPercent)} %`),
    el('p', 'text', said, job ? text : error),
    el('code', 'code', said, code),
    progress && !isFailed && el('progress', 'bar', { 'aria-label': title, ...bar }),
    el('p', 'note', said, note),
    action && el('a', 'action', { href: action.href, 'aria-label': action.name }, action.label),
  );
}
