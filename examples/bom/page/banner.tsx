import { type JobSnapshot, useJobProgress } from 'milepost/react';
import { type ReactNode, useState } from 'react';
import { Counted } from './counted.tsx';
import { Live } from './live.tsx';
import { counted, euros, left } from './words.ts';

/** What the worker says at the end. */
interface Outcome {
  readonly warnings?: number;
  readonly cost_eur?: string;
}

export interface BannerProps {
  /** null: there has been no run yet, and nothing is asked of the server. */
  readonly jobId: string | null;
  /** The newest attempt that the page knows of: how an older one ended is not shown any more. */
  readonly attempt: number;
  readonly parts: number;
  /** The next attempt is being asked for. */
  readonly starting: boolean;
  onEnrich(): void;
}

/** One run of a bill of materials, from its first part to its end. */
export function Banner({ jobId, attempt, parts, starting, onEnrich }: BannerProps) {
  const run = useJobProgress(jobId);
  const [dismissed, dismiss] = useState(0);
  const job = !starting && run.progress && run.progress.attempt >= attempt ? run.progress : null;

  if (jobId === null && !starting)
    return (
      <Plain text={`${counted(parts, 'part')}, not enriched yet`}>
        <button className="button primary" type="button" onClick={onEnrich}>
          Enrich
        </button>
      </Plain>
    );
  if (job?.state === 'completed' && dismissed >= job.attempt)
    return (
      <Plain text={`${counted(job.counters.enriched ?? 0, 'part')} enriched`}>
        <Download job={job} />
        <ReEnrich onEnrich={onEnrich} />
      </Plain>
    );
  if (job?.state === 'failed' && dismissed >= job.attempt)
    return (
      <Plain text="The last run failed">
        <ReEnrich onEnrich={onEnrich} />
      </Plain>
    );

  const { current = 0, counters = {} } = job ?? {};
  const { enriched = 0, error: errors = 0 } = counters;
  const total = job?.total ?? parts;
  const gone = run.progress === null && run.isFailed && !starting;
  const state = job?.state ?? (gone ? 'failed' : 'queued');
  const over = state === 'completed' || state === 'failed' || state === 'cancelled';
  const percent = Math.floor(job?.percent ?? 0);
  return (
    <section className="card banner" data-state={state} aria-label="Enrichment">
      <div className="banner-head">
        <h3 className="banner-title">
          {TITLES[state] ?? 'Enriching'}
          {!over && (
            <span className="banner-percent">
              <Counted value={percent} /> %
            </span>
          )}
        </h3>
        {!over && <Live status={run.connectionStatus} />}
        {over && (
          <button
            className="banner-close"
            type="button"
            aria-label="Dismiss"
            onClick={() => dismiss(job?.attempt ?? attempt)}
          >
            ×
          </button>
        )}
      </div>
      <div
        className="split"
        role="progressbar"
        aria-label="Parts looked up"
        aria-valuemin={0}
        aria-valuemax={total}
        aria-valuenow={current}
        aria-valuetext={`${current} of ${total} parts`}
      >
        <span className="split-part split-good" style={{ inlineSize: share(enriched, total) }} />
        <span className="split-part split-bad" style={{ inlineSize: share(errors, total) }} />
      </div>
      <p className="banner-counts">
        <span>
          <Counted value={enriched} /> of {total.toLocaleString('en')} enriched
        </span>
        <span className={errors > 0 ? 'banner-errors' : undefined}>
          <Counted value={errors} /> {errors === 1 ? 'error' : 'errors'}
        </span>
        {state === 'running' && job?.eta_seconds != null && <span>{left(job.eta_seconds)}</span>}
        {state === 'completed' && <Result result={job?.result as Outcome | null} />}
      </p>
      {!over && <Current job={job} />}
      {state === 'failed' && (
        <p className="banner-error">
          {run.error} <code>{run.errorCode}</code>
        </p>
      )}
      {over && (
        <p className="banner-actions">
          <Download job={job} />
          {state === 'completed' ? (
            <ReEnrich onEnrich={onEnrich} />
          ) : (
            <button className="button small" type="button" onClick={onEnrich}>
              Retry
            </button>
          )}
        </p>
      )}
      <p className="visually-hidden" role="status">
        {said(state, percent, enriched, errors)}
      </p>
    </section>
  );
}

const TITLES: Readonly<Record<string, string>> = {
  queued: 'Waiting for a worker',
  stalled: 'The worker is silent',
  completed: 'Enriched',
  failed: 'The run failed',
  cancelled: 'Cancelled',
};

const share = (part: number, whole: number) => `${whole > 0 ? (100 * part) / whole : 0}%`;

/** What is said aloud: at the start, at each quarter, at the end. */
function said(state: string, percent: number, enriched: number, errors: number): string {
  const counts = `${enriched} enriched, ${counted(errors, 'error')}`;
  if (state === 'completed') return `Enrichment completed: ${counts}.`;
  if (state === 'failed') return `Enrichment failed: ${counts}.`;
  if (state === 'stalled') return 'The worker is silent.';
  if (state !== 'running') return '';
  const quarter = Math.floor(percent / 25) * 25;
  return quarter ? `${quarter} % enriched` : 'Enrichment has begun.';
}

function Plain({ text, children }: { readonly text: string; readonly children: ReactNode }) {
  return (
    <section className="card banner plain" aria-label="Enrichment">
      <p>{text}</p>
      <p className="banner-actions">{children}</p>
    </section>
  );
}

/** The part that the worker is at. */
function Current({ job }: { readonly job: JobSnapshot | null }) {
  const { name, status, message } = (job?.item ?? {}) as Readonly<Record<string, string>>;
  return (
    <p className="banner-item" data-status={status}>
      {name ? (
        <>
          <code>{name}</code>
          <span className="banner-said">
            {status === 'processing' ? 'Looking it up…' : message}
          </span>
        </>
      ) : (
        <span className="banner-said">
          {job?.state === 'running' ? 'Looking the parts up…' : 'It begins in a moment.'}
        </span>
      )}
    </p>
  );
}

function Result({ result }: { readonly result: Outcome | null }) {
  const { warnings = 0, cost_eur: cost } = result ?? {};
  return (
    <>
      {warnings > 0 && <span className="banner-warnings">{counted(warnings, 'warning')}</span>}
      {cost && <span>{euros(cost)} a board</span>}
    </>
  );
}

function Download({ job }: { readonly job: JobSnapshot | null }) {
  if (job?.state !== 'completed' || !job.output_url) return null;
  return (
    <a className="button small primary" href={job.output_url} download>
      Download CSV
    </a>
  );
}

function ReEnrich({ onEnrich }: Pick<BannerProps, 'onEnrich'>) {
  return (
    <button className="button small" type="button" onClick={onEnrich}>
      Re-enrich
    </button>
  );
}
