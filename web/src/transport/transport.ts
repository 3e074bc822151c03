import type { Failure } from '../core/errors.ts';
import type { AuthReason, Environment, Timing } from '../core/types.ts';
import type { Delivery } from '../core/wire.ts';
import type { Http } from './http.ts';

/** How one connection came to its end. */
export type Outcome =
  /** The server said so, with a `stream_end`. */
  | { readonly kind: 'ended'; readonly reason: string; readonly retryMs: number }
  /** `strike`: in a way that a proxy which blocks streams would cause. */
  | { readonly kind: 'failed'; readonly error: Failure; readonly strike: boolean }
  /** This transport is switched off for this user. */
  | { readonly kind: 'disabled'; readonly error: Failure };

/** What the server says about itself. */
export interface ServerConfig {
  heartbeatMs: number;
  pollMs: number;
  longPollMs: number;
  transports: readonly string[] | null;
}

export interface Run {
  readonly http: Http;
  readonly env: Environment;
  readonly timing: Timing;
  /** Shared by all connections of a client; each transport keeps what it learns here. */
  readonly config: ServerConfig;
  /** Ends the connection, with a `Failure` as the reason; a transport may end itself. */
  readonly abort: AbortController;
  /** Named to the server: why this connection replaces an earlier one. */
  readonly reason: string | null;
  readonly auth: AuthReason;
  cursor(): string | null;
  /** Some job is active: polls stay short. */
  busy(): boolean;
  /** Bytes came: this transport works. */
  alive(): void;
  deliver(delivery: Delivery): void;
  /**
   * Look now: the page became visible, the network came back or the user asked. The listener answers
   * whether it found the connection dead and is ending it.
   */
  onPoke(listener: () => boolean): void;
}

/** Runs one connection to its end; does not reject. */
export type Transport = (run: Run) => Promise<Outcome>;
