// Imports that go on behind a closed modal, as entries that open it again.

import type { JobSnapshot } from 'milepost/react';
import { useJobs, useMilepost } from 'milepost/react';
import { useEffect } from 'react';
import type { Sending } from './app.tsx';

const ENDED = ['completed', 'failed', 'cancelled', 'gone'];

interface RunningProps {
  /** Whether somebody looks at an import: without one, the page has no connection. */
  readonly followed: boolean;
  readonly running: readonly string[];
  readonly sending: Sending | null;
  readonly changed: (running: readonly string[]) => void;
  readonly ended: (running: readonly string[]) => void;
  readonly open: (id: string | null) => void;
}

const STATES: Record<string, string> = {
  queued: 'Import queued',
  stalled: 'Import stalled',
};

export function Running({ followed, running, sending, changed, ended, open }: RunningProps) {
  const client = useMilepost();
  useEffect(() => (followed ? undefined : client.pause('nothing to follow')), [client, followed]);

  const jobs = useJobs().filter(({ kind, stale }) => kind === 'import' && !stale);
  const over = jobs.filter(({ state }) => ENDED.includes(state)).map(({ id }) => id);
  const live = jobs.filter(({ id }) => !over.includes(id));
  const next = [...new Set([...running, ...live.map(({ id }) => id)])].filter(
    (id) => !over.includes(id),
  );
  useEffect(() => {
    if (running.some((id) => over.includes(id))) ended(next);
    else if (next.length !== running.length) changed(next);
  });

  if (!sending && !next.length) return null;
  return (
    <ul className="running" aria-label="Imports under way">
      {sending && (
        <li>
          <Entry
            name={sending.name}
            state={sending.problems.length ? 'Not sent' : 'Sending'}
            open={() => open(null)}
          />
        </li>
      )}
      {next.map((id) => (
        <li key={id}>
          <Entry {...entryOf(live.find((job) => job.id === id))} open={() => open(id)} />
        </li>
      ))}
    </ul>
  );
}

function entryOf(job: JobSnapshot | undefined) {
  return {
    name: job?.title ?? '',
    state: STATES[job?.state ?? 'queued'] ?? 'Import running',
    percent: job?.percent ?? null,
  };
}

interface EntryProps {
  readonly name: string;
  readonly state: string;
  readonly percent?: number | null;
  readonly open: () => void;
}

function Entry({ name, state, percent = null, open }: EntryProps) {
  return (
    <button className="entry" type="button" onClick={open}>
      <span className="entry-state">
        {state}
        {percent !== null && ` ${Math.floor(percent)} %`}
      </span>
      <span className="note entry-name">{name}</span>
      <span className="entry-bar" aria-hidden="true">
        <span style={{ width: `${percent ?? 0}%` }} />
      </span>
    </button>
  );
}
