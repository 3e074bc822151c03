import { useEnrichmentSSE } from 'milepost/legacy';
import { useJobProgress } from 'milepost/react';
import { useEffect, useRef, useState } from 'react';
import { Banner } from './banner.tsx';
import { Files } from './files.tsx';
import { useRows } from './rows.ts';
import {
  type Answer,
  type Bom,
  beginRun,
  type PageState,
  readBom,
  type Summary,
  type Wish,
} from './server.ts';
import { Settings } from './settings.tsx';
import { Table } from './table.tsx';
import { counted } from './words.ts';

/** The whole page below its head and its heading. */
export function App({ state }: { readonly state: PageState }) {
  const [boms, list] = useState(state.boms);
  const [bom, show] = useState(state.chosen);
  const [problems, refuse] = useState<readonly string[]>([]);
  const [wish, want] = useState<Wish>({ pace: state.paces[1] ?? 0, prices: 'current' });

  function open(answer: Answer<{ bom: Bom }>): void {
    refuse(answer.ok ? [] : answer.problems);
    if (!answer.ok) return;
    const { bom } = answer.value;
    show(bom);
    list((before) => (before.some(({ id }) => id === bom.id) ? before : [bom, ...before]));
    history.replaceState(null, '', `?bom=${bom.id}`);
  }

  return (
    <div className="page">
      <div className="page-main">
        <Problems problems={problems} />
        {bom ? (
          <Sheet key={bom.id} bom={bom} wish={wish} refused={refuse} />
        ) : (
          <Files opened={open} refused={refuse} />
        )}
      </div>
      <div className="page-side">
        {bom && <Boms boms={boms} shown={bom.id} choose={async (id) => open(await readBom(id))} />}
        <Settings wish={wish} paces={state.paces} change={want} />
        {bom && <Files opened={open} refused={refuse} />}
      </div>
    </div>
  );
}

interface SheetProps {
  readonly bom: Bom;
  readonly wish: Wish;
  refused(problems: readonly string[]): void;
}

/** One bill of materials: its run, and its lines. */
function Sheet({ bom, wish, refused }: SheetProps) {
  const [began, begin] = useState(bom.attempt);
  const [starting, start] = useState(false);
  const jobId = began > 0 ? bom.id : null;
  const { progress } = useJobProgress(jobId);
  // Another tab, or the worker itself, may have begun a newer one.
  const attempt = Math.max(began, progress?.attempt ?? 0);
  const job = progress?.attempt === attempt && !starting ? progress : null;
  const rows = useRows(bom, attempt, job?.current ?? 0);
  useTitle(jobId, bom.name);

  async function enrich(): Promise<void> {
    if (starting) return;
    start(true);
    const answer = await beginRun(bom.id, wish);
    refused(answer.ok ? [] : answer.problems);
    if (answer.ok) begin(answer.value.attempt);
    start(false);
  }

  return (
    <>
      <div className="sheet-head">
        <h2>{bom.name}</h2>
        <span className="note">{counted(bom.parts, 'line')}</span>
      </div>
      <Banner
        jobId={jobId}
        attempt={attempt}
        parts={bom.parts}
        starting={starting}
        onEnrich={enrich}
      />
      <Table bom={bom} rows={starting ? [] : rows} running={job?.state === 'running'} />
    </>
  );
}

/** How far it is, in the browser's own list of tabs; by the hook as this product's pages have it. */
function useTitle(bomId: string | null, name: string): void {
  const title = useRef(document.title);
  const { isProcessing, progress } = useEnrichmentSSE(bomId);
  const percent = isProcessing && progress ? Math.floor(progress.percent_complete) : null;
  useEffect(() => {
    const own = title.current;
    document.title = percent === null ? own : `${percent} % · ${name}`;
    return () => {
      document.title = own;
    };
  }, [percent, name]);
}

interface BomsProps {
  readonly boms: readonly Summary[];
  readonly shown: string;
  choose(id: string): void;
}

function Boms({ boms, shown, choose }: BomsProps) {
  return (
    <nav className="card boms" aria-label="Bills of materials">
      <h2>Your bills of materials</h2>
      <ul>
        {boms.map(({ id, name, parts }) => (
          <li key={id}>
            <button
              type="button"
              className="boms-one"
              aria-current={id === shown ? 'true' : undefined}
              onClick={() => choose(id)}
            >
              <span>{name}</span>
              <span className="note">{counted(parts, 'line')}</span>
            </button>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function Problems({ problems }: { readonly problems: readonly string[] }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (problems.length) box.current?.focus();
  }, [problems]);
  return (
    <div ref={box} className="problems" role="alert" tabIndex={-1} hidden={problems.length === 0}>
      <p>{problems.length === 1 ? 'One thing to put right' : 'Things to put right'}</p>
      <ul>
        {problems.map((problem) => (
          <li key={problem}>{problem}</li>
        ))}
      </ul>
    </div>
  );
}
