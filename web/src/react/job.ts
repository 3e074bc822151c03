import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import type { ConnectionStatus, JobSnapshot } from '../core/types.ts';
import { ended } from '../store/jobs.ts';
import { useConnection } from './hooks.ts';
import { useStarted } from './provider.tsx';

/** Why a job, or the way to it, failed: a code of the taxonomy or the producer's own, and a sentence. */
export interface JobProblem {
  readonly code: string;
  readonly message: string;
}

export interface UseJobProgressOptions {
  /** `false`: follows only after `connect()`. Default `true`. */
  readonly autoConnect?: boolean;
  /** Each state of a job that has not ended, once. */
  readonly onProgress?: (job: JobSnapshot) => void;
  /** Once per attempt. */
  readonly onComplete?: (job: JobSnapshot) => void;
  /** Failed, cancelled, or there is no such job: once per attempt. */
  readonly onFailed?: (job: JobSnapshot) => void;
  /** Whatever `error` says, once: of the job, or of the connection. */
  readonly onError?: (problem: JobProblem) => void;
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
  connect(): void;
  /** Let go of the job. The connection is everybody's, and stays. */
  disconnect(): void;
  /** As `connect`, and at once where the next attempt would still wait. */
  retry(): void;
}

/** How a job ended; null: it has not, as far as the server has said. */
function problemOf({ state, error, message }: JobSnapshot): JobProblem | null {
  if (state === 'gone') return { code: 'NOT_FOUND', message: 'There is no such job.' };
  if (state === 'cancelled') return { code: 'CANCELLED', message: message || 'Cancelled.' };
  if (state !== 'failed') return null;
  const { code = 'UNEXPECTED', message: why = '' } = error ?? {};
  return { code, message: why || code };
}

/** The same code as in the taxonomy of a job's errors: here nobody but the client can know. */
const LOST: JobProblem = { code: 'STREAM_DISCONNECTED', message: 'The connection is lost.' };

/** What a hook has told its callbacks: of which job, the last state, the attempt that ended, the last problem. */
interface Told {
  readonly id: string | null;
  readonly rev: number;
  readonly end: number;
  readonly code: string | null;
}
const UNTOLD: Told = { id: null, rev: -1, end: 0, code: null };

const nobody = () => () => {};
const nothing = () => null;

/** Follows one job, as soon as there is an id, until it has ended; then also its next attempt. */
export function useJobProgress(
  jobId: string | null | undefined,
  options: UseJobProgressOptions = {},
): UseJobProgress {
  const { autoConnect = true, onProgress, onComplete, onFailed, onError } = options;
  const id = jobId || null;
  /** What the page has said itself, of this job. */
  const [asked, ask] = useState<{ readonly id: string | null; readonly on: boolean } | null>(null);
  const said = asked?.id === id ? asked : null;
  const wanted = id !== null && (said?.on ?? autoConnect);

  const client = useStarted(wanted);
  const store = id === null ? null : client.job(id);
  const job = useSyncExternalStore<JobSnapshot | null>(
    store?.subscribe ?? nobody,
    store?.getSnapshot ?? nothing,
    nothing,
  );
  const connection = useConnection();

  // What is only remembered from before a reload may have begun anew since.
  const over = !!job && ended(job) && !job.stale;
  const closed = over || job?.state === 'gone';
  useEffect(() => (wanted && !over ? store?.track() : undefined), [store, wanted, over]);

  const { status, reason, paused } = connection;
  const broken =
    wanted && !closed && (status === 'error' || (reason !== null && reason !== 'closed'));
  const problem = closed ? problemOf(job) : broken ? LOST : null;
  const isComplete = over && job.state === 'completed';

  const told = useRef(UNTOLD);
  useEffect(() => {
    const last = told.current.id === id ? told.current : UNTOLD;
    if (!wanted) return;
    const news = !!job && !job.stale && job.rev !== last.rev;
    const end = closed ? job.attempt : 0;
    const code = problem && `${end} ${problem.code}`;
    // Before anybody is told: who is may do anything.
    told.current = { id, rev: job && !job.stale ? job.rev : last.rev, end, code };
    if (news && !closed) onProgress?.(job);
    if (closed && end !== last.end) (isComplete ? onComplete : onFailed)?.(job);
    if (problem && code !== last.code) onError?.(problem);
  });

  const connect = useCallback(() => {
    ask({ id, on: true });
    // Asks the server once more for a job that it did not have.
    store?.track()();
  }, [id, store]);

  return {
    progress: !job || job.state === 'unknown' || job.state === 'gone' ? null : job,
    progressPercent: job?.percent ?? null,
    error: problem?.message ?? null,
    errorCode: problem?.code ?? null,
    isProcessing: !closed && (wanted || (!!job && job.state !== 'unknown')),
    isComplete,
    isFailed: closed && !isComplete,
    connectionStatus: wanted
      ? closed
        ? 'closed'
        : // Not started yet, but about to be; paused is another matter.
          status === 'idle' && !paused.length
          ? 'connecting'
          : status
      : id && said
        ? 'closed'
        : 'idle',
    connect,
    disconnect: useCallback(() => ask({ id, on: false }), [id]),
    retry: useCallback(() => {
      connect();
      client.retryNow();
    }, [client, connect]),
  };
}
