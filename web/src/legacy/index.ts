/** The names that the five products' pages import, as thin shells over the client. */
export {
  type Enrichment,
  type EnrichmentOptions,
  type EnrichmentProgress,
  useEnrichmentSSE,
} from './enrichment.ts';
export { ProgressToast, type ProgressToastOptions } from './progress-toast.ts';
export {
  clearJobState,
  getActiveJobs,
  getJobState,
  type JobState,
  saveJobState,
} from './states.ts';
export {
  type ImportHandlers,
  type JobProgressHandlers,
  JobProgressStream,
  type ProgressData,
  SSEClient,
  type StreamOptions,
} from './streams.ts';
