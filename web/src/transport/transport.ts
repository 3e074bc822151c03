import type { Failure } from '../core/errors.ts';
import type { AuthReason, Timing } from '../core/types.ts';
import type { Delivery } from '../core/wire.ts';
import type { Http } from './http.ts';

/** The server ended the connection itself, with a `stream_end`. */
export interface Goodbye {
  readonly reason: string;
  readonly retryMs: number;
}

/** How one connection came to its end. */
export type Outcome = Goodbye | Failure;

/** What the server says about itself, in its own words. */
export interface ServerConfig {
  readonly heartbeat_seconds: number;
  readonly poll_seconds: number;
  readonly long_poll_seconds: number;
  readonly transports?: readonly string[];
}

/** One connection. */
export interface Run {
  readonly http: Http;
  readonly timing: Timing;
  /** Shared by all connections of a client; each transport keeps what it learns here. */
  readonly config: ServerConfig;
  /** Ends the connection, with a `Failure` as the reason; a transport may end itself. */
  readonly abort: AbortController;
  /** Named to the server: why this connection replaces an earlier one. */
  readonly reason: string | null;
  readonly auth: AuthReason;
  /** By the clock of the wall, which a suspended device does not stop; 0: none yet. */
  firstByte: number;
  lastByte: number;
  cursor(): string | null;
  /** Some job is active: polls stay short. */
  busy(): boolean;
  /** Ends the connection in so many milliseconds, unless something comes. */
  limit(ms: number, code?: 'timeout' | 'silent'): void;
  /** Bytes came: this transport works. */
  alive(): void;
  deliver(delivery: Delivery): void;
  /**
   * Look now: the page became visible, the network came back or the user asked. For the transport to
   * replace; it ends a connection that it finds dead.
   */
  poke(): void;
}

/** Runs one connection to its end; rejects with whatever ended it unless that was a goodbye. */
export type Transport = (run: Run) => Promise<Goodbye>;
