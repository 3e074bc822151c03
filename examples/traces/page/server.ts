// What the page asks its own server. A refusal is a list of sentences.

export interface Summary {
  readonly traces: number;
  readonly spans: number;
  readonly services: number;
  readonly errors: number;
  readonly p50_ms: number;
  readonly p95_ms: number;
  readonly slowest: { readonly trace_id: string; readonly name: string; readonly ms: number };
  readonly from_ms: number;
  readonly to_ms: number;
}

export interface Imported {
  readonly id: string;
  readonly name: string;
  readonly imported_ms: number;
  readonly summary: Summary;
}

export interface Trace {
  readonly trace_id: string;
  readonly name: string;
  readonly service: string;
  readonly start_ms: number;
  readonly ms: number;
  readonly spans: number;
  readonly errors: number;
}

export interface Span {
  readonly span_id: string;
  readonly depth: number;
  readonly name: string;
  readonly service: string;
  readonly at_ms: number;
  readonly ms: number;
  readonly failed: boolean;
  readonly attributes: Readonly<Record<string, string>>;
}

/** What was asked for when an import was started. */
export interface About {
  readonly bytes: number;
  /** Seconds. */
  readonly deadline: number;
}

/** How the form wants a file imported; in the words of the server. */
export interface Wish {
  readonly name: string;
  readonly pace: string;
  readonly deadline: string;
}

export const UPLOAD_LIMIT = 20 * 1024 ** 2;
const AWAY = 'The server cannot be reached. Try again in a moment.';
/** Milliseconds between two attempts to send a file. */
const PAUSES = [500, 1000, 2000, 4000, 8000];

// The hub's token lives for an hour; the page's own session makes a new one whenever the hub refuses the old one.
export async function fetchSignedIn(input: RequestInfo | URL, init?: RequestInit) {
  const answer = await fetch(input, init);
  if (answer.status !== 401) return answer;
  const renewed = await fetch('session', { method: 'POST' });
  return renewed.ok ? fetch(input, init) : answer;
}

async function read<T>(path: string): Promise<T | null> {
  const answer = await fetchSignedIn(path).catch(() => null);
  return answer?.ok ? ((await answer.json()) as T) : null;
}

const below = (id: string) => `imports/${encodeURIComponent(id)}`;

export const readImports = async () =>
  (await read<{ imports: Imported[] }>('imports'))?.imports ?? null;

/** 'gone': there is no such import, or it is somebody else's. */
export async function readAbout(id: string): Promise<About | 'gone' | null> {
  const answer = await fetchSignedIn(below(id)).catch(() => null);
  if (answer?.status === 404) return 'gone';
  return answer?.ok ? ((await answer.json()) as About) : null;
}

export const readTraces = async (id: string, failed: boolean) =>
  (await read<{ traces: Trace[] }>(`${below(id)}/traces${failed ? '?failed=1' : ''}`))?.traces ??
  null;

export const readSpans = async (id: string, trace: string) =>
  (await read<{ spans: Span[] }>(`${below(id)}/spans?trace=${encodeURIComponent(trace)}`))?.spans ??
  null;

/** Ids of the visitor's imports that have not ended. */
export async function readRunning(): Promise<string[]> {
  const found = await read<{ jobs: { id: string; state: string }[] }>(
    'api/jobs?kind=import&limit=20',
  );
  const live = ['queued', 'running', 'stalled'];
  return (found?.jobs ?? []).filter(({ state }) => live.includes(state)).map(({ id }) => id);
}

async function problemsOf(answer: Response | null): Promise<string[]> {
  if (!answer) return [AWAY];
  const told = (await answer.json().catch(() => ({}))) as { problems?: string[] };
  return told.problems ?? [`The server answered ${answer.status}. Try again in a moment.`];
}

/** The file of a sample, as if it had been chosen from a disk. Rejects with a sentence. */
export async function readSample(name: string, signal: AbortSignal): Promise<Blob> {
  const answer = await fetch(`sample/${name}`, { signal }).catch(() => null);
  if (!answer?.ok) throw new Error(AWAY);
  return answer.blob();
}

/**
 * Sends a file; the job's id, or why there is none. Rejects only when `signal` aborts. One whose answer got lost is sent
 * again under the same key, so that it never becomes two imports.
 */
export async function send(
  file: Blob,
  wish: Wish & { readonly key: string },
  signal: AbortSignal,
): Promise<{ job: string } | { problems: string[] }> {
  if (file.size > UPLOAD_LIMIT) return { problems: ['This is larger than 20 MiB.'] };
  const query = new URLSearchParams({ ...wish });
  for (const pause of [...PAUSES, null]) {
    const answer = await fetch(`imports?${query}`, { method: 'POST', body: file, signal }).catch(
      () => null,
    );
    signal.throwIfAborted();
    if (answer?.ok) return { job: ((await answer.json()) as { job_id: string }).job_id };
    if ((answer && answer.status < 500) || pause === null)
      return { problems: await problemsOf(answer) };
    await new Promise((resolve) => setTimeout(resolve, pause));
    signal.throwIfAborted();
  }
  return { problems: [AWAY] };
}

/** Cancels an import; null, or why it could not be. */
export async function cancel(id: string): Promise<string[] | null> {
  const answer = await fetch(`${below(id)}/cancel`, { method: 'POST' }).catch(() => null);
  return answer?.ok ? null : problemsOf(answer);
}
