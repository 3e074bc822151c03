// Who holds what: the files that are being sent, the import that the modal shows, those that run, and what was imported.

import { type JobSnapshot, MilepostProvider } from 'milepost/react';
import { useCallback, useEffect, useRef, useState } from 'react';
import { newKey } from '../../stage/page/key.ts';
import { StartForm } from './form.tsx';
import { ImportedTraces } from './imported.tsx';
import { ImportModal } from './modal.tsx';
import { Running } from './running.tsx';
import {
  fetchSignedIn,
  type Imported,
  readImports,
  readRunning,
  readSample,
  send,
  type Wish,
} from './server.ts';

/** A file on its way to the server, or refused by it. */
export interface Sending {
  readonly key: string;
  readonly name: string;
  readonly problems: readonly string[];
  readonly abort: () => void;
}

/** The modal shows a file that is being sent, by its key, or a job. */
export type Shown = { readonly sending: string } | { readonly job: string } | null;

const linked = () => new URLSearchParams(location.search).get('import');

export function App({ visitor }: { readonly visitor: string }) {
  const [sendings, setSendings] = useState<readonly Sending[]>([]);
  const [shown, setShown] = useState<Shown>(() => {
    const job = linked();
    return job ? { job } : null;
  });
  const [running, setRunning] = useState<readonly string[]>([]);
  const [watching, setWatching] = useState(true);
  const [imports, setImports] = useState<readonly Imported[] | null>(null);
  const [selected, select] = useState<string | null>(null);
  const [aloud, say] = useState('');
  const results = useRef<HTMLHeadingElement>(null);
  const main = useRef<HTMLDivElement>(null);

  const refresh = useCallback(async () => {
    const found = await readImports();
    if (found) setImports(found);
  }, []);

  useEffect(() => {
    refresh();
    readRunning().then((found) => setRunning((known) => [...new Set([...known, ...found])]));
  }, [refresh]);

  // The address says what the modal shows, so that a reload and a link show it too.
  const job = shown && 'job' in shown ? shown.job : null;
  useEffect(() => {
    const url = new URL(location.href);
    if (job) url.searchParams.set('import', job);
    else url.searchParams.delete('import');
    history.replaceState(null, '', url);
  }, [job]);

  const drop = (key: string) => setSendings((all) => all.filter((one) => one.key !== key));

  function refuse(key: string, problems: readonly string[]) {
    setSendings((all) => all.map((one) => (one.key === key ? { ...one, problems } : one)));
  }

  async function start(file: File | null, wish: Wish) {
    const key = newKey();
    const upload = new AbortController();
    const { signal } = upload;
    const abort = () => upload.abort();
    setSendings((all) => [...all, { key, name: wish.name, problems: [], abort }]);
    setShown({ sending: key });
    try {
      const data = file ?? (await readSample(wish.name, signal));
      const told = await send(data, { ...wish, key }, signal);
      if ('problems' in told) {
        refuse(key, told.problems);
        return;
      }
      drop(key);
      setRunning((known) => [...known, told.job]);
      // Closed meanwhile, it stays closed.
      setShown((now) => (now && 'sending' in now && now.sending === key ? told : now));
    } catch (error) {
      if (!signal.aborted) refuse(key, [(error as Error).message]);
    }
  }

  function close() {
    setShown(null);
    setWatching(true);
    if (sending?.problems.length) drop(sending.key);
  }

  function changed(next: readonly string[], ended: readonly JobSnapshot[]) {
    setRunning(next);
    if (!ended.length) return;
    select(null);
    refresh();
    say(
      ended
        .filter(({ state }) => state === 'completed')
        .map(({ title }) => `${title} is imported.`)
        .join(' '),
    );
  }

  const dropRunning = useCallback(
    (id: string) => setRunning((known) => known.filter((one) => one !== id)),
    [],
  );

  // A modal that came with the page has nothing that it could give the focus back to.
  const open = shown !== null;
  const wasOpen = useRef(open);
  useEffect(() => {
    if (wasOpen.current && !open && document.activeElement === document.body)
      main.current?.querySelector<HTMLElement>('button[type="submit"]')?.focus();
    wasOpen.current = open;
  }, [open]);

  const sending =
    sendings.find(({ key }) => shown && 'sending' in shown && shown.sending === key) ?? null;
  const chosen = imports?.find(({ id }) => id === selected) ?? imports?.[0] ?? null;
  return (
    <MilepostProvider baseUrl={document.baseURI} userKey={visitor} env={{ fetch: fetchSignedIn }}>
      <div className="start" ref={main}>
        <StartForm start={start} />
        <Running
          shown={job}
          watching={watching}
          running={running}
          sendings={sendings}
          changed={changed}
          drop={dropRunning}
          open={setShown}
        />
        <p className="visually-hidden" role="status">
          {aloud}
        </p>
      </div>
      <ImportedTraces heading={results} imports={imports} chosen={chosen} select={select} />
      {(job || sending) && (
        <ImportModal
          job={job}
          sending={sending}
          watching={watching}
          watch={setWatching}
          close={close}
          abort={() => {
            sending?.abort();
            if (sending) drop(sending.key);
            setShown(null);
          }}
          look={() => {
            close();
            select(job);
            // After the modal has given the focus back.
            setTimeout(() => results.current?.focus());
          }}
        />
      )}
    </MilepostProvider>
  );
}
