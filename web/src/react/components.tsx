import { type ReactElement, type RefObject, useEffect, useId, useRef } from 'react';
import type { Client, Unsubscribe } from '../core/types.ts';
import { safeHref } from '../ui/dom.ts';
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
import { fill, labelsOf } from '../ui/labels.ts';
import { type UseJobProgressOptions, useJobProgress } from './job.ts';
import { useMilepost, useStarted } from './provider.tsx';

/** What stands in an element of React's, but is drawn without it. Options are read when it comes. */
function useAttached<O>(
  client: Client,
  attach: (client: Client, target: Element, options: O) => Unsubscribe,
  options: O,
): RefObject<HTMLDivElement | null> {
  const target = useRef<HTMLDivElement>(null);
  const first = useRef(options);
  useEffect(
    () => (target.current ? attach(client, target.current, first.current) : undefined),
    [client, attach],
  );
  return target;
}

/** A bell with the number of unread notifications; it opens the inbox. */
export function Bell(options: BellOptions): ReactElement {
  return <div ref={useAttached(useStarted(), attachBell, options)} />;
}

/** The inbox, open in the page. */
export function Inbox(options: InboxOptions): ReactElement {
  return <div ref={useAttached(useStarted(), attachInbox, options)} />;
}

/** Says when there is no connection for ten seconds, and when updates come by polling. */
export function ConnectionNotice(options: ConnectionOptions): ReactElement {
  return <div ref={useAttached(useMilepost(), attachConnection, options)} />;
}

/** Toasts for tracked jobs (those of `useJobProgress` are), for fresh notifications and for a lost connection. */
export function Toaster(options: ToastOptions): null {
  const client = useStarted();
  const first = useRef(options);
  useEffect(() => attachToasts(client, first.current), [client]);
  return null;
}

export interface JobProgressProps extends UseJobProgressOptions {
  readonly jobId: string | null | undefined;
  readonly labels?: Partial<Labels>;
}

/** One job: its title, a bar, what it says, and at its end the link to its output or the error. */
export function JobProgress({ jobId, labels: own, ...options }: JobProgressProps): ReactElement {
  const labels = labelsOf(own);
  const {
    progress: job,
    isComplete,
    isFailed,
    isProcessing,
    error,
    errorCode,
  } = useJobProgress(jobId, options);
  const id = useId();
  const { title, message = '', current = 0, total = null, percent = null, output_url } = job ?? {};
  const href = isComplete ? safeHref(output_url ?? null) : undefined;
  const count = fill(total === null ? labels.progressUnknown : labels.progress, { current, total });
  const said =
    job?.state === 'stalled'
      ? labels.stalled
      : message || (job?.state === 'queued' && labels.queued);
  return (
    <div
      className="milepost-progress"
      data-tone={isComplete ? 'success' : isFailed ? 'error' : 'progress'}
    >
      <p className="milepost-title" id={id} dir="auto">
        {title || labels.job}
      </p>
      <p className="milepost-text" dir="auto">
        {error ?? (isComplete ? message || labels.completed : said)}
      </p>
      <code className="milepost-code">{errorCode}</code>
      {isProcessing && (
        <progress
          className="milepost-bar"
          aria-labelledby={id}
          max={total ?? 1}
          {...(total !== null && { value: current })}
        />
      )}
      {isProcessing && (
        <p className="milepost-note">{percent === null ? count : `${percent} % · ${count}`}</p>
      )}
      {href && (
        <div className="milepost-actions">
          <a className="milepost-action" href={href}>
            {labels.openResult}
          </a>
        </div>
      )}
    </div>
  );
}
