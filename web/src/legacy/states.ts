/** Product D's own notes of the jobs that a page had begun: what it saved comes back after a reload. */

/** Beyond it a job is forgotten. */
const TTL = 15 * 60_000;
const KEY = 'milepost:1:legacy';

export type JobState = Readonly<Record<string, unknown>>;
type Saved = Record<string, { readonly state: JobState; readonly at: number }>;

/** A browser may forbid storage, fill it, or let another page write rubbish into it: then less is remembered. */
function load(): Saved {
  try {
    const saved = Object.entries(Object(JSON.parse(localStorage.getItem(KEY) ?? '{}')) as Saved);
    return Object.fromEntries(saved.filter(([, { at }]) => Math.abs(Date.now() - at) < TTL));
  } catch {
    return {};
  }
}

function store(saved: Saved): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(saved));
  } catch {
    // See `load`.
  }
}

/** Remember a job for 15 minutes, in place of what was known of it. */
export function saveJobState(jobId: string, state: JobState): void {
  store({ ...load(), [jobId]: { state, at: Date.now() } });
}

/** What was saved of a job in the last 15 minutes; null where there is nothing. */
export const getJobState = (jobId: string): JobState | null => load()[jobId]?.state ?? null;

export function clearJobState(jobId: string): void {
  const { [jobId]: _, ...others } = load();
  store(others);
}

/** The ids of all jobs that were saved and not cleared. */
export const getActiveJobs = (): string[] => Object.keys(load());
