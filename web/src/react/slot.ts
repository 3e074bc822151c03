import type { useJobProgress } from './job.ts';

/**
 * Where `milepost/react` leaves its hook for `milepost/legacy`, which must go on working in pages that have no React
 * and with bundlers that could not find one.
 */
export const slot: { useJobProgress?: typeof useJobProgress } = {};
