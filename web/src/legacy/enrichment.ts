import type { JobSnapshot } from '../core/types.ts';
import type { JobProblem, UseJobProgress } from '../react/job.ts';
import { slot } from '../react/slot.ts';

/** Product E's progress, as its dialect has it on the wire. */
export interface EnrichmentProgress {
  readonly bom_id: string;
  /** `null` while it is unknown. */
  readonly total_items: number | null;
  readonly processed_items: number;
  readonly enriched_items: number;
  readonly error_items: number;
  readonly percent_complete: number;
  /** `mpn`, `status`, `message`, and whatever else the worker says of the part. */
  readonly current_item?: Readonly<Record<string, unknown>>;
  /** Seconds. */
  readonly estimated_time_remaining?: number;
}

export interface EnrichmentOptions {
  /** `false`: follows only after `connect()`. Default `true`. */
  readonly autoConnect?: boolean | undefined;
  readonly onProgress?: ((progress: EnrichmentProgress) => void) | undefined;
  readonly onComplete?: ((progress: EnrichmentProgress) => void) | undefined;
  readonly onFailed?: ((progress: EnrichmentProgress) => void) | undefined;
  readonly onError?: ((problem: JobProblem) => void) | undefined;
}

export interface Enrichment extends Omit<UseJobProgress, 'progress'> {
  readonly progress: EnrichmentProgress | null;
}

function progressOf(job: JobSnapshot): EnrichmentProgress {
  const { id, total, current, counters, percent, item, eta_seconds: eta } = job;
  const { name: mpn, ...said } = item ?? {};
  return {
    bom_id: id,
    total_items: total,
    processed_items: current,
    enriched_items: counters.enriched ?? 0,
    error_items: counters.error ?? 0,
    percent_complete: percent ?? 0,
    ...(item && { current_item: { ...(mpn !== undefined && { mpn }), ...said } }),
    ...(eta !== null && { estimated_time_remaining: eta }),
  };
}

const inItsWords = (tell: ((progress: EnrichmentProgress) => void) | undefined) =>
  tell && ((job: JobSnapshot) => tell(progressOf(job)));

/**
 * Product E: a bill of materials that is being enriched, inside a `MilepostProvider`. It is a hook of React's, which
 * this entry does without: throws an Error where `milepost/react` has not been imported.
 */
export function useEnrichmentSSE(
  bomId: string | null | undefined,
  options: EnrichmentOptions = {},
): Enrichment {
  const { useJobProgress } = slot;
  if (!useJobProgress) throw new Error('useEnrichmentSSE needs milepost/react: import it first');
  const { progress, ...others } = useJobProgress(bomId, {
    ...options,
    onProgress: inItsWords(options.onProgress),
    onComplete: inItsWords(options.onComplete),
    onFailed: inItsWords(options.onFailed),
  });
  return { ...others, progress: progress && progressOf(progress) };
}
