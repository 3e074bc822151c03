import type { Http } from '../transport/http.ts';
import { TRANSPORTS } from '../transport/ladder.ts';
import type { ServerConfig } from '../transport/transport.ts';
import type { Failure } from './errors.ts';
import { deadline, IDLE, type Policy, type Session, type SessionEvent, step } from './session.ts';
import type { Environment, TransportName } from './types.ts';
import type { Delivery } from './wire.ts';

/** Timers hold at most 2^31 - 1 ms; above that they fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

interface Live {
  readonly abort: AbortController;
  /** True: the connection was found dead and ends now. */
  poke: () => boolean;
  dead: boolean;
  firstByte: number;
  lastByte: number;
}

export interface ConnectorOptions {
  readonly http: Http;
  readonly env: Environment;
  readonly policy: Policy;
  readonly shouldRetry: (error: Failure, attempt: number) => boolean;
  cursor(): string | null;
  busy(): boolean;
  deliver(delivery: Delivery): void;
  changed(session: Session, event: SessionEvent): void;
}

/** Makes the connections be what the session says they are, and tells it what becomes of them. */
export class Connector {
  session: Session = IDLE;
  readonly #options: ConnectorOptions;
  readonly #live = new Map<number, Live>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #config: ServerConfig = {
    heartbeatMs: 15_000,
    pollMs: 5000,
    longPollMs: 25_000,
    transports: null,
  };

  constructor(options: ConnectorOptions) {
    this.#options = options;
  }

  dispatch(event: SessionEvent): void {
    const { env, policy, busy, changed } = this.#options;
    const now = performance.now();
    const before = this.session;
    const after = step(before, event, policy, { now, roll: env.random(), active: busy() });
    this.session = after;

    const { main, probe, rung } = after;
    for (const [id, { abort }] of this.#live)
      if (id !== main && id !== probe) {
        this.#live.delete(id);
        abort.abort();
      }
    if (main && !this.#live.has(main)) void this.#connect(main, rung);
    if (probe && !this.#live.has(probe)) void this.#connect(probe, 0);

    clearTimeout(this.#timer);
    const at = deadline(after, policy.timing);
    if (at !== null)
      this.#timer = setTimeout(
        () => this.dispatch({ type: 'tick' }),
        Math.min(at - now, LONGEST_TIMER_MS),
      );
    if (after !== before) changed(after, event);
  }

  /** Something suggests that the network is worth another look. */
  poke(): void {
    for (const live of [...this.#live.values()]) live.dead ||= live.poke();
    this.dispatch({ type: 'wake' });
  }

  async #connect(id: number, rung: number): Promise<void> {
    const { policy, env, deliver, shouldRetry } = this.#options;
    const { why, expired } = this.session;
    const abort = new AbortController();
    const live: Live = { abort, poke: () => false, dead: false, firstByte: 0, lastByte: 0 };
    this.#live.set(id, live);
    const current = () => this.#live.get(id) === live;
    const outcome = await TRANSPORTS[policy.rungs[rung] as TransportName]({
      ...this.#options,
      timing: policy.timing,
      config: this.#config,
      abort,
      reason: why,
      auth: expired ? 'expired' : 'connect',
      alive: () => {
        live.lastByte = env.now();
        live.firstByte ||= live.lastByte;
        if (current() && (this.session.phase !== 'open' || id === this.session.probe))
          this.dispatch({ type: 'opened', id });
      },
      deliver: (delivery) => {
        if (current()) deliver(delivery);
      },
      onPoke: (listener) => {
        live.poke = listener;
      },
    });
    if (!current()) return;
    this.#live.delete(id);
    const isMain = id === this.session.main;
    this.dispatch({ type: 'ended', id, outcome, lived: live.lastByte - live.firstByte });
    if (live.dead) this.dispatch({ type: 'wake' });
    if (!isMain || outcome.kind !== 'failed') return;
    const { error } = outcome;
    if (error.code === 'forbidden') this.dispatch({ type: 'close', reason: 'forbidden' });
    else if (!shouldRetry(error, this.session.attempt))
      this.dispatch({ type: 'close', reason: 'rejected' });
  }
}
