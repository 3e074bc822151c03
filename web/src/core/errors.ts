import type { ClientError, ErrorCode } from './types.ts';

interface Details {
  readonly status?: number;
  readonly problem?: string;
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

export class Failure extends Error implements ClientError {
  readonly code: ErrorCode;
  declare readonly status?: number;
  declare readonly problem?: string;
  declare readonly retryAfterMs?: number;

  constructor(code: ErrorCode, details: Details = {}) {
    super(`milepost: ${[code, details.status, details.problem].filter(Boolean).join(' ')}`);
    this.code = code;
    Object.assign(this, details);
  }
}

export const asFailure = (error: unknown): Failure =>
  error instanceof Failure ? error : new Failure('network', { cause: error });
