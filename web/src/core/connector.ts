import type { Http } from '../transport/http.ts';
import { TRANSPORTS } from '../transport/ladder.ts';
import type { Outcome, ServerConfig } from '../transport/transport.ts';
import { asFailure, Failure } from './errors.ts';
import { type Effect, IDLE, type Policy, type Session, type SessionEvent, step, type TimerName } from './session.ts';
import type { Environment } from './types.ts';
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
  remember(rung: number | null): void;
}

/** Carries out the session's effects: opens and drops connections, sets timers, reports what came. */
export class Connector {
  session: Session = IDLE;
  readonly #options: ConnectorOptions;
  readonly #live = new Map<number, Live>();
  readonly #timers = new Map<TimerName, ReturnType<typeof setTimeout>>();
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
    const ambient = { now: env.now(), roll: env.random(), active: busy() };
    const before = this.session;
    const [after, effects] = step(before, event, policy, ambient);
    this.session = after;
    for (const effect of effects) this.#run(effect);
    if (after !== before) changed(after, event);
  }

  /** Something suggests that the network is worth another look. */
  poke(): void {
    for (const live of [...this.#live.values()]) live.dead ||= live.poke();
    this.dispatch({ type: 'wake' });
  }

  #run(effect: Effect): void {
    switch (effect.type) {
      case 'connect':
        void this.#connect(effect);
        break;
      case 'drop':
        this.#live.get(effect.id)?.abort.abort(new Failure('network', 'Dropped.'));
        this.#live.delete(effect.id);
        break;
      case 'timer': {
        const { name, ms } = effect;
        clearTimeout(this.#timers.get(name));
        this.#timers.delete(name);
        if (ms === null) break;
        const fire = () => {
          this.#timers.delete(name);
          this.dispatch({ type: 'timer', name });
        };
        this.#timers.set(name, setTimeout(fire, Math.min(ms, LONGEST_TIMER_MS)));
        break;
      }
      case 'remember':
        this.#options.remember(effect.rung);
    }
  }

  async #connect({ id, rung, why, expired }: Effect & { type: 'connect' }): Promise<void> {
    const { http, env, policy, cursor, busy, deliver, shouldRetry } = this.#options;
    const live: Live = { abort: new AbortController(), poke: () => false, dead: false, firstByte: 0, lastByte: 0 };
    this.#live.set(id, live);
    const current = () => this.#live.get(id) === live;
    const name = policy.rungs[rung] as keyof typeof TRANSPORTS;
    let outcome: Outcome;
    try {
      outcome = await TRANSPORTS[name]({
        http,
        env,
        timing: policy.timing,
        config: this.#config,
        signal: live.abort.signal,
        reason: why,
        auth: expired ? 'expired' : 'connect',
        cursor,
        busy,
        opened: () => {
          if (!current()) return;
          live.firstByte ||= env.now();
          if (this.session.phase !== 'open' || id === this.session.probe)
            this.dispatch({ type: 'opened', id });
        },
        alive: () => {
          live.lastByte = env.now();
        },
        deliver: (delivery) => {
          if (current()) deliver(delivery);
        },
        onPoke: (listener) => {
          live.poke = listener;
        },
      });
    } catch (error) {
      outcome = { kind: 'failed', error: asFailure(error), strike: false };
    }
    if (!current()) return;
    this.#live.delete(id);
    const lived = live.firstByte ? live.lastByte - live.firstByte : 0;
    const main = id === this.session.main;
    this.dispatch({ type: 'ended', id, outcome, lived });
    if (live.dead) this.dispatch({ type: 'wake' });
    if (main && outcome.kind === 'failed' && !shouldRetry(outcome.error, this.session.attempt))
      this.dispatch({ type: 'close', reason: 'rejected' });
  }
}
