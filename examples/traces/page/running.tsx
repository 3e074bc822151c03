// Imports that go on behind a closed modal, as entries that open it again.

import type { JobSnapshot } from 'milepost/react';
import { useJobs, useMilepost } from 'milepost/react';
import { useEffect } from 'react';
import type { Sending, Shown } from './app.tsx';

const LIVE = ['queued', 'running', 'stalled'];

interface RunningProps {
  /** The job that the modal shows. */
  readonly shown: string | null;
  readonly watching: boolean;
  /** Those that have not ended, as far as is known, and those whose failure nobody has seen. */
  readonly running: readonly string[];
  readonly sendings: readonly Sending[];
  readonly changed: (running: readonly string[], ended: readonly JobSnapshot[]) => void;
  /** Must stay the same function. */
  readonly drop: (id: string) => void;
  readonly open: (what: Shown) => void;
}

const STATES: Record<string, string> = {
  queued: 'Import queued',
  stalled: 'Import stalled',
  failed: 'Import failed',
};

export function Running(props: RunningProps) {
  const { shown, watching, running, sendings, changed, drop, open } = props;
  const client = useMilepost();
  const jobs = useJobs().filter(({ kind, stale }) => kind === 'import' && !stale);
  const jobOf = (id: string) => jobs.find((job) => job.id === id);
  const live = jobs.filter(({ state }) => LIVE.includes(state));
  // One that was started just now may not have been heard of yet.
  const isLive = (id: string) => !jobOf(id) || live.some((job) => job.id === id);
  const next = [...new Set([...running, ...live.map(({ id }) => id)])].filter(
    (id) => isLive(id) || jobOf(id)?.state === 'failed',
  );

  const followed = watching && (shown !== null || next.some(isLive));

  useEffect(() => {
    if (next.join() === running.join()) return;
    changed(
      next,
      jobs.filter(({ id }) => running.includes(id) && !next.includes(id)),
    );
  });

  // A failure that was shown in the modal has been seen.
  useEffect(() => {
    if (!shown) return;
    return () => {
      if (client.job(shown).getSnapshot().state === 'failed') drop(shown);
    };
  }, [client, shown, drop]);

  return (
    <>
      <Connection needed={followed} />
      {(sendings.length > 0 || next.length > 0) && (
        <ul className="running" aria-label="Imports under way">
          {sendings.map(({ key, name, problems }) => (
            <li key={key}>
              <Entry
                name={name}
                state={problems.length ? 'Not sent' : 'Sending'}
                failed={problems.length > 0}
                open={() => open({ sending: key })}
              />
            </li>
          ))}
          {next.map((id) => (
            <li key={id}>
              <Entry {...entryOf(jobOf(id))} open={() => open({ job: id })} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

/** Without anything to follow the page has no connection. A child of its own: its effect comes before the one that connects. */
function Connection({ needed }: { readonly needed: boolean }) {
  const client = useMilepost();
  useEffect(() => (needed ? undefined : client.pause('nothing to follow')), [client, needed]);
  return null;
}

function entryOf(job: JobSnapshot | undefined) {
  return {
    name: job?.title ?? '',
    state: STATES[job?.state ?? 'queued'] ?? 'Import running',
    percent: job?.state === 'failed' ? null : (job?.percent ?? null),
    failed: job?.state === 'failed',
  };
}

interface EntryProps {
  readonly name: string;
  readonly state: string;
  readonly percent?: number | null;
  readonly failed?: boolean;
  readonly open: () => void;
}

function Entry({ name, state, percent = null, failed = false, open }: EntryProps) {
  return (
    <button className="entry" type="button" data-failed={failed || undefined} onClick={open}>
      <span className="entry-state">
        {state}
        {percent !== null && ` ${Math.floor(percent)} %`}
      </span>
      <span className="note entry-name">{name}</span>
      {!failed && (
        <span className="entry-bar" aria-hidden="true">
          <span style={{ width: `${percent ?? 0}%` }} />
        </span>
      )}
    </button>
  );
}
