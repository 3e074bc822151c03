import type { ClientError, ErrorCode, Result } from './types.ts';

interface Details {
  readonly status?: number;
  readonly problem?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

export class Failure extends Error implements ClientError {
  declare readonly code: ErrorCode;
  declare readonly status?: number;
  declare readonly problem?: string | undefined;
  declare readonly retryAfterMs?: number | undefined;

  constructor(code: ErrorCode, details: Details = {}) {
    super(`milepost: ${[code, details.status, details.problem].filter(Boolean).join(' ')}`);
    Object.assign(this, details, { code });
  }
}

/** Streams, or this transport, are switched off for this user. */
export const DISABLED = 'streaming_disabled';

export const asFailure = (error: unknown): Failure =>
  error instanceof Failure ? error : new Failure('network', { cause: error });

export const asResult = (work: Promise<unknown>): Promise<Result> =>
  work.then(
    () => ({ ok: true }),
    (error) => ({ ok: false, error: asFailure(error) }),
  );
