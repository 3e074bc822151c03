// One job in the modal: all that `useJobProgress` says of it.

import { type JobSnapshot, useConnection, useJobProgress } from 'milepost/react';
import { useEffect, useState } from 'react';
import { Bar, Problem, type Stage, Stages } from './pieces.tsx';
import { type About, cancel, readAbout, type Summary } from './server.ts';
import { clock, count, counted, duration, left, range, size } from './words.ts';

interface FollowingProps {
  readonly job: string;
  readonly watching: boolean;
  readonly watch: (on: boolean) => void;
  readonly close: () => void;
  readonly look: () => void;
}

const CONNECTION: Record<string, string> = {
  idle: 'Not connected',
  connecting: 'Connecting…',
  connected: 'Live',
  reconnecting: 'Reconnecting…',
  polling: 'Updates by polling',
  error: 'No connection',
  closed: 'Updates are paused',
};

const CODES: Record<string, string> = {
  IMPORT_ROW: 'This line cannot be imported.',
  IMPORT_EMPTY: 'There is nothing to import.',
  GENERATOR_TIMEOUT: 'It took longer than its deadline allows.',
  STORAGE_WRITE_FAIL: 'The database could not be written.',
  CANCELLED: 'The import was cancelled.',
  NOT_FOUND: 'There is no such import.',
};

function stageOf(job: JobSnapshot | null): Stage {
  if (!job?.started_at) return 'queue';
  if (job.state === 'completed') return 'done';
  return job.total === null ? 'count' : 'import';
}

/** What is said aloud: each stage, and each quarter of the way. */
function said(job: JobSnapshot): string {
  if (job.state === 'queued') return 'Waiting for a worker';
  if (job.state === 'stalled') return 'The worker has not reported for a while';
  if (job.percent === null) return 'Counting the lines';
  return `Importing, ${Math.floor(job.percent / 25) * 25} percent`;
}

export function Following({ job: id, watching, watch, close, look }: FollowingProps) {
  const [found, setFound] = useState<About | 'gone' | null>(null);
  const [aloud, say] = useState('');
  const [refused, setRefused] = useState<readonly string[]>([]);
  const [cancelling, setCancelling] = useState(false);
  // The page's own server knows at once what the hub waits for: a job may be followed before it exists.
  const hook = useJobProgress(found === 'gone' ? null : id, {
    onProgress: (job) => {
      say(said(job));
      if (job.percent !== null) document.title = `${Math.floor(job.percent)} % · Spanfile`;
    },
    onComplete: () => say('The import is done.'),
    onFailed: () => say(''), // the alert says it
    onError: ({ code }) => say(code === 'STREAM_DISCONNECTED' ? 'The connection is lost.' : ''),
  });
  const { progress, progressPercent, connectionStatus, isProcessing, isComplete, isFailed } = hook;

  useEffect(() => {
    let here = true;
    readAbout(id).then((found) => here && setFound(found));
    return () => {
      here = false;
    };
  }, [id]);

  useEffect(() => {
    const before = document.title;
    return () => {
      document.title = before;
    };
  }, []);

  function pause() {
    hook.disconnect();
    watch(false);
  }

  function resume() {
    watch(true);
    hook.connect();
  }

  async function stop() {
    setCancelling(true);
    const problems = await cancel(id);
    setCancelling(false);
    setRefused(problems ?? []);
  }

  // A stream that ends is soon another one: only when that takes long it is worth a word.
  const { notice } = useConnection();
  const connection =
    connectionStatus === 'reconnecting' && !notice ? 'connected' : connectionStatus;
  const stage = stageOf(progress);
  if (found === 'gone')
    return (
      <>
        <Problem
          title="There is no such import."
          sentences={['It was never there, or it is older than a week.']}
        />
        <div className="modal-actions">
          <button className="button" type="button" onClick={close}>
            Close
          </button>
        </div>
      </>
    );
  const about = found;
  return (
    <>
      <Stages at={stage} failed={isFailed} />
      <p className="modal-what">
        <span>{progress?.title ?? 'Import'}</span>
        {about && <span className="note"> {size(about.bytes)}</span>}
      </p>
      <p className="visually-hidden" role="status">
        {aloud}
      </p>

      {isProcessing && (
        <>
          <Working job={progress} percent={progressPercent} about={about} />
          <p className="modal-connection" data-status={connection}>
            <span>{CONNECTION[connection]}</span>
            {connection === 'error' || connection === 'reconnecting' ? (
              <button className="link" type="button" onClick={hook.retry}>
                Try now
              </button>
            ) : watching ? (
              <button className="link" type="button" onClick={pause}>
                Pause updates
              </button>
            ) : (
              <button className="link" type="button" onClick={resume}>
                Resume updates
              </button>
            )}
          </p>
          {refused.length > 0 && (
            <Problem title="The import could not be cancelled." sentences={refused} />
          )}
          <div className="modal-actions">
            <button className="button" type="button" onClick={close}>
              Close, it goes on
            </button>
            <button
              className="button"
              type="button"
              aria-disabled={cancelling || undefined}
              onClick={stop}
            >
              Cancel the import
            </button>
          </div>
        </>
      )}

      {isComplete && progress && (
        <>
          {progress.result !== null && <Result summary={progress.result as Summary} />}
          <div className="modal-actions">
            <button className="button primary" type="button" onClick={look}>
              Look at the traces
            </button>
            <button className="button" type="button" onClick={close}>
              Close
            </button>
          </div>
        </>
      )}

      {isFailed && (
        <>
          <Problem
            title={CODES[hook.errorCode ?? ''] ?? 'The import failed.'}
            sentences={[hook.error ?? 'Nobody knows why.']}
            code={hook.errorCode}
          />
          <p className="modal-line">Nothing of this file is in the database.</p>
          <div className="modal-actions">
            <button className="button" type="button" onClick={close}>
              Close
            </button>
          </div>
        </>
      )}
    </>
  );
}

interface WorkingProps {
  readonly job: JobSnapshot | null;
  readonly percent: number | null;
  readonly about: About | null;
}

function Working({ job, percent, about }: WorkingProps) {
  const { errors = 0, repeated = 0, spans = 0 } = job?.counters ?? {};
  const importing = job && percent !== null;
  const latest = job && about && Date.parse(job.created_at) + about.deadline * 1000;
  return (
    <>
      <p className="modal-percent">
        {importing ? `${Math.floor(percent)} %` : job?.started_at ? 'Counting' : 'Waiting'}
      </p>
      <Bar percent={job?.state === 'queued' ? 0 : percent} label="Import" />
      <p className="modal-line">
        <span>{lineOf(job)}</span>
        <span className="modal-left">
          {importing &&
            job.eta_seconds !== null &&
            job.state === 'running' &&
            left(job.eta_seconds)}
        </span>
      </p>
      <dl className="facts">
        <Fact name="Spans" value={count(spans)} />
        <Fact name="Failed" value={count(errors)} />
        {repeated > 0 && <Fact name="Repeated" value={count(repeated)} />}
        <Fact
          name="Lines a second"
          value={importing && job.rate ? count(Math.round(job.rate)) : '\u2013'}
        />
        <Fact name="Deadline" value={latest ? clock(latest) : '\u2013'} />
      </dl>
    </>
  );
}

function lineOf(job: JobSnapshot | null): string {
  if (!job) return 'Asking the server';
  if (job.state === 'queued') return 'Waiting for a worker';
  if (job.state === 'stalled') return 'The worker has not reported for a while';
  return job.message || 'A worker has it';
}

const Fact = ({ name, value }: { readonly name: string; readonly value: string }) => (
  <div>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
);

function Result({ summary }: { readonly summary: Summary }) {
  const rows = [
    ['Traces', count(summary.traces)],
    ['Spans', count(summary.spans)],
    ['Services', count(summary.services)],
    ['Failed spans', count(summary.errors)],
    ['Half of the traces take at most', duration(summary.p50_ms)],
    ['95 % take at most', duration(summary.p95_ms)],
    ['The slowest', `${summary.slowest.name}, ${duration(summary.slowest.ms)}`],
    ['Time', range(summary.from_ms, summary.to_ms)],
  ];
  return (
    <>
      <p className="modal-done">{counted(summary.spans, 'span')} imported</p>
      <table className="summary">
        <caption className="visually-hidden">What was imported</caption>
        <tbody>
          {rows.map(([name, value]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
