import { type JobSnapshot, useJobProgress, useJobs, useNotifications } from 'milepost/react';
import { useCallback, useEffect, useState } from 'react';
import { send } from './session.ts';
import { clock, firstName, number, when } from './words.ts';

/** What the application knows of a recording. */
export interface Summary {
  readonly id: string;
  readonly title: string;
  readonly owner: string;
  readonly submitted_at: number;
  readonly seconds: number | null;
  readonly lufs: number | null;
}

export const STATES: Readonly<Record<string, string>> = {
  unknown: 'Sent',
  queued: 'Waiting',
  running: 'Listening',
  stalled: 'Stalled',
  completed: 'Ready',
  failed: 'Failed',
  cancelled: 'Cancelled',
};
const LIVE = new Set(['unknown', 'queued', 'running', 'stalled']);

/** A job that has not ended. Following it gives it a toast, here and after a reload. */
function Progress({ job, label }: { readonly job: JobSnapshot; readonly label: string }) {
  const { progress } = useJobProgress(job.id);
  const { current = 0, total = null } = progress ?? job;
  return (
    <progress
      aria-labelledby={label}
      max={total ?? 1}
      {...(total !== null && { value: current })}
    />
  );
}

interface Entry {
  readonly id: string;
  readonly title: string;
  readonly time: number;
  readonly state: string;
  readonly job: JobSnapshot | undefined;
  readonly known: Summary | undefined;
}

function told({ job, known, state }: Entry, coach: string): string {
  const from = known && known.owner !== coach ? `from ${firstName(known.owner)}` : '';
  if (job && LIVE.has(state)) return job.message;
  if (state === 'failed') return job?.error?.message ?? '';
  const { seconds = null, lufs = null } = known ?? (job?.result as Summary | null) ?? {};
  const figures =
    seconds === null ? '' : `${clock(seconds)}${lufs === null ? '' : `, ${number(lufs)} LUFS`}`;
  return [figures, from].filter(Boolean).join(' · ');
}

/** The coach's own recordings as they are now, older ones, and those that others have shared. */
export function Recordings({
  coach,
  opened,
  open,
}: {
  readonly coach: string;
  readonly opened: string | null;
  readonly open: (id: string) => void;
}) {
  const jobs = useJobs();
  const [known, setKnown] = useState<readonly Summary[]>([]);
  const load = useCallback(() => {
    send('recordings')
      .then((answer) => answer.json())
      .then(({ recordings }) => setKnown(recordings))
      .catch(() => {}); // what the hub tells is there all the same
  }, []);
  useEffect(load, [load]);
  // An analysis has ended, or somebody has shared something.
  useNotifications({ onNotification: load });

  const entries = new Map<string, Entry>();
  for (const one of known)
    entries.set(one.id, {
      id: one.id,
      title: one.title,
      time: one.submitted_at * 1000,
      state: one.seconds === null ? 'unknown' : 'completed',
      job: undefined,
      known: one,
    });
  for (const job of jobs) {
    if (job.state === 'gone' || job.kind !== 'session') continue;
    entries.set(job.id, {
      id: job.id,
      title: job.title,
      time: Date.parse(job.created_at),
      state: job.state,
      job,
      known: entries.get(job.id)?.known,
    });
  }
  // Of an older one without a result nobody knows more than that it has none.
  const listed = [...entries.values()]
    .filter(({ job, state }) => job || state === 'completed')
    .sort((a, b) => b.time - a.time);
  return (
    <section className="jobs" aria-labelledby="recordings-title">
      <h2 id="recordings-title">Recordings</h2>
      <ul>
        {listed.map((entry) => (
          <li className="job recording" data-state={entry.state} key={entry.id}>
            <div className="job-head">
              <h3 className="job-title" id={`title-${entry.id}`} dir="auto">
                <button
                  className="recording-open"
                  type="button"
                  aria-current={opened === entry.id}
                  onClick={() => open(entry.id)}
                >
                  {entry.title}
                </button>
              </h3>
              <span className="state">{STATES[entry.state]}</span>
            </div>
            {entry.job && LIVE.has(entry.state) && (
              <div className="job-bar">
                <Progress job={entry.job} label={`title-${entry.id}`} />
              </div>
            )}
            <div className="job-line">
              <span className="job-message">{told(entry, coach)}</span>
              <time>{when(entry.time)}</time>
            </div>
          </li>
        ))}
      </ul>
      {!listed.length && (
        <p className="empty">Nothing yet. What you analyse, or others share, appears here.</p>
      )}
    </section>
  );
}
