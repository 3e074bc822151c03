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

  constructor(code: ErrorCode, message: string, details: Details = {}) {
    super(message);
    this.name = 'MilepostError';
    this.code = code;
    Object.assign(this, details);
  }
}

export const asFailure = (error: unknown): Failure =>
  error instanceof Failure
    ? error
    : new Failure('network', 'The server could not be reached.', { cause: error });
