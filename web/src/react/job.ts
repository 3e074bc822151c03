import { useEffect, useMemo, useState } from 'react';
import type { ConnectionStatus, JobSnapshot } from '../core/types.ts';
import { ended } from '../store/jobs.ts';
import { LABELS } from '../ui/labels.ts';
import { NEW, useConnection, useStore, useTold } from './hooks.ts';
import { useStarted } from './provider.ts';

/** Why a job, or the way to it, failed: a code of the taxonomy or the producer's own, and a sentence. */
export interface JobProblem {
  readonly code: string;
  readonly message: string;
}

export interface UseJobProgressOptions {
  /** `false`: follows only after `connect()`. Default `true`. */
  readonly autoConnect?: boolean | undefined;
  /** Each state of a job that has not ended, once. */
  readonly onProgress?: ((job: JobSnapshot) => void) | undefined;
  /** Once per attempt. */
  readonly onComplete?: ((job: JobSnapshot) => void) | undefined;
  /** Failed, cancelled, or there is no such job: once per attempt. */
  readonly onFailed?: ((job: JobSnapshot) => void) | undefined;
  /** Whatever `error` says, once: of the job, or of the connection. */
  readonly onError?: ((problem: JobProblem) => void) | undefined;
}

export interface UseJobProgress {
  /** The job; `null` as long as nothing is known of it. */
  readonly progress: JobSnapshot | null;
  /** 0 to 100; `null` while the total is unknown. */
  readonly progressPercent: number | null;
  readonly error: string | null;
  readonly errorCode: string | null;
  /** It has not ended, as far as is known; also while its first state is awaited. */
  readonly isProcessing: boolean;
  readonly isComplete: boolean;
  /** Also cancelled (`CANCELLED`), and no such job (`NOT_FOUND`). */
  readonly isFailed: boolean;
  /** `idle` before it is followed, `closed` after its end and after `disconnect()`, else the connection's. */
  readonly connectionStatus: ConnectionStatus;
  /** Follow it. */
  connect(): void;
  /** Let go of it. The connection is everybody's, and stays. */
  disconnect(): void;
  /** Now, instead of when the next attempt is due. */
  retry(): void;
}

/** What is known where nothing is: of no job, and on a server. */
const NONE = NEW.job('');

/** Follows one job, as soon as there is an id, until it has ended; then also its next attempt. */
export function useJobProgress(
  jobId: string | null | undefined,
  options: UseJobProgressOptions = {},
): UseJobProgress {
  const { autoConnect = true, onProgress, onComplete, onFailed, onError } = options;
  const id = jobId || null;
  /** What the page has said itself, and of which job. */
  const [asked, ask] = useState<{ readonly id: string | null; readonly on: boolean }>();
  const said = id && asked?.id === id ? asked : null;
  const wanted = !!id && (said?.on ?? autoConnect);

  const client = useStarted(wanted);
  const store = id ? client.job(id) : NONE;
  const job = useStore(store, NONE);
  const { status, reason } = useConnection();

  const { state, stale } = job;
  const gone = state === 'gone';
  // What is only remembered from before a reload may have begun anew since.
  const over = !stale && ended(job);
  const closed = over || gone;
  const isComplete = over && state === 'completed';
  const isFailed = closed && !isComplete;
  useEffect(() => (wanted && !over ? store.track() : undefined), [store, wanted, over]);

  let errorCode: string | null = null;
  let error: string | null = null;
  if (isFailed) {
    const failed = state === 'failed';
    errorCode = gone ? 'NOT_FOUND' : failed ? (job.error?.code ?? 'UNEXPECTED') : 'CANCELLED';
    error = gone ? LABELS.gone : (failed ? job.error : job)?.message || errorCode;
  } else if (wanted && ((reason && reason !== 'closed') || status === 'error')) {
    errorCode = 'STREAM_DISCONNECTED';
    error = LABELS.lostTitle;
  }

  const of = (what: unknown) => (wanted ? `${id} ${job.attempt} ${what}` : undefined);
  useTold(stale || closed ? undefined : of(job.rev), onProgress, job);
  useTold(closed ? of('') : undefined, isComplete ? onComplete : onFailed, job);
  useTold(errorCode ? of(errorCode) : '', onError, {
    code: errorCode,
    message: error,
  } as JobProblem);

  const verbs = useMemo(() => {
    const connect = () => {
      ask({ id, on: true });
      // Asks the server once more for a job that it did not have.
      store.track()();
      client.retryNow();
    };
    return { connect, retry: connect, disconnect: () => ask({ id, on: false }) };
  }, [client, store, id]);

  const progress = gone || state === 'unknown' ? null : job;
  return {
    ...verbs,
    progress,
    progressPercent: job.percent,
    error,
    errorCode,
    isProcessing: !closed && (wanted || !!progress),
    isComplete,
    isFailed,
    connectionStatus: (wanted ? closed : said) ? 'closed' : wanted ? status : 'idle',
  };
}
