// Who holds what: the file that is being sent, the import that the modal shows, those that run, and what was imported.

import { MilepostProvider } from 'milepost/react';
import { useCallback, useEffect, useRef, useState } from 'react';
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
  readonly name: string;
  readonly problems: readonly string[];
}

/** The modal shows a file that is being sent, or a job. */
type Shown = { readonly job: string | null } | null;

const linked = () => new URLSearchParams(location.search).get('import');

export function App({ visitor }: { readonly visitor: string }) {
  const [sending, setSending] = useState<Sending | null>(null);
  const [shown, setShown] = useState<Shown>(() => {
    const job = linked();
    return job ? { job } : null;
  });
  const [running, setRunning] = useState<readonly string[]>([]);
  const [watching, setWatching] = useState(true);
  const [imports, setImports] = useState<readonly Imported[] | null>(null);
  const [selected, select] = useState<string | null>(null);
  const upload = useRef<AbortController>(null);
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
  const job = shown?.job ?? null;
  useEffect(() => {
    const url = new URL(location.href);
    if (job) url.searchParams.set('import', job);
    else url.searchParams.delete('import');
    history.replaceState(null, '', url);
  }, [job]);

  async function start(file: File | null, wish: Wish) {
    upload.current?.abort();
    upload.current = new AbortController();
    const { signal } = upload.current;
    setSending({ name: wish.name, problems: [] });
    setShown({ job: null });
    try {
      const told = await send(file ?? (await readSample(wish.name, signal)), wish, signal);
      if ('problems' in told) {
        setSending({ name: wish.name, problems: told.problems });
        return;
      }
      setSending(null);
      setRunning((known) => [...known, told.job]);
      setWatching(true);
      // Closed meanwhile: it stays closed.
      setShown((now) => now && (now.job === null ? { job: told.job } : now));
    } catch (error) {
      if (!signal.aborted) setSending({ name: wish.name, problems: [(error as Error).message] });
    }
  }

  function close() {
    setShown(null);
    setWatching(true);
    if (sending?.problems.length) setSending(null);
  }

  const ended = useCallback(
    (next: readonly string[]) => {
      setRunning(next);
      select(null);
      refresh();
    },
    [refresh],
  );

  // A modal that came with the page has nothing that it could give the focus back to.
  const open = shown !== null;
  const wasOpen = useRef(open);
  useEffect(() => {
    if (wasOpen.current && !open && document.activeElement === document.body)
      main.current?.querySelector<HTMLElement>('button[type="submit"]')?.focus();
    wasOpen.current = open;
  }, [open]);

  const followed = watching && (job !== null || running.length > 0);
  const chosen = imports?.find(({ id }) => id === selected) ?? imports?.[0] ?? null;
  return (
    <MilepostProvider baseUrl={document.baseURI} userKey={visitor} env={{ fetch: fetchSignedIn }}>
      <div className="start" ref={main}>
        <StartForm start={start} />
        <Running
          followed={followed}
          running={running}
          sending={shown ? null : sending}
          changed={setRunning}
          ended={ended}
          open={(id) => setShown({ job: id })}
        />
      </div>
      <ImportedTraces heading={results} imports={imports} chosen={chosen} select={select} />
      {shown && (
        <ImportModal
          key="modal"
          job={shown.job}
          sending={sending}
          watching={watching}
          watch={setWatching}
          close={close}
          abort={() => {
            upload.current?.abort();
            setSending(null);
            setShown(null);
          }}
          look={() => {
            close();
            select(shown.job);
            // After the modal has given the focus back.
            setTimeout(() => results.current?.focus());
          }}
        />
      )}
    </MilepostProvider>
  );
}
