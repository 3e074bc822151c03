import type { Http } from '../transport/http.ts';
import { TRANSPORTS } from '../transport/ladder.ts';
import type { Outcome, Run, ServerConfig } from '../transport/transport.ts';
import { asFailure, Failure } from './errors.ts';
import { deadline, IDLE, type Policy, type Session, type SessionEvent, step } from './session.ts';
import type { TransportName } from './types.ts';
import type { Delivery } from './wire.ts';

export interface ConnectorOptions {
  readonly http: Http;
  readonly policy: Policy;
  cursor(): string | null;
  busy(): boolean;
  deliver(delivery: Delivery): void;
  changed(event: SessionEvent, before: Session): void;
}

export interface Connector {
  readonly session: Session;
  dispatch(event: SessionEvent): void;
  /** Something suggests that the network is worth another look. */
  poke(): void;
}

/** Makes the connections be what the session says they are, and tells it what becomes of them. */
export function createConnector(options: ConnectorOptions): Connector {
  const { policy, busy } = options;
  const { timing } = policy;
  let session = IDLE;
  const runs = new Map<number, Run>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const config: ServerConfig = { heartbeat_seconds: 15, poll_seconds: 5, long_poll_seconds: 25 };

  function dispatch(event: SessionEvent): void {
    const now = performance.now();
    const before = session;
    session = step(before, event, policy, { now, roll: Math.random(), active: busy() });

    const { main, probe, rung } = session;
    for (const [id, { abort }] of runs)
      if (id !== main && id !== probe) {
        runs.delete(id);
        abort.abort();
      }
    if (main && !runs.has(main)) void connect(main, rung);
    if (probe && !runs.has(probe)) void connect(probe, 0);

    clearTimeout(timer);
    const ms = deadline(session, timing) - now;
    if (ms < Infinity) timer = setTimeout(() => dispatch({ type: 'tick' }), ms);
    if (session !== before) options.changed(event, before);
  }

  async function connect(id: number, rung: number): Promise<void> {
    const abort = new AbortController();
    let limit: ReturnType<typeof setTimeout> | undefined;
    const run: Run = {
      ...options,
      timing,
      config,
      abort,
      reason: session.why,
      auth: session.expired ? 'expired' : 'connect',
      firstByte: 0,
      lastByte: 0,
      limit(ms, code = 'timeout') {
        clearTimeout(limit);
        limit = setTimeout(() => abort.abort(new Failure(code)), ms);
      },
      alive() {
        clearTimeout(limit);
        run.lastByte = Date.now();
        run.firstByte ||= run.lastByte;
        if (runs.has(id) && (session.phase !== 'open' || id === session.probe))
          dispatch({ type: 'opened', id });
      },
      deliver(delivery) {
        if (runs.has(id)) options.deliver(delivery);
      },
      poke() {},
    };
    runs.set(id, run);
    const transport = TRANSPORTS[policy.rungs[rung] as TransportName];
    const { signal } = abort;
    const outcome: Outcome = await transport(run).catch((thrown) =>
      asFailure(signal.aborted ? signal.reason : thrown),
    );
    const lived = run.lastByte - run.firstByte;
    if (runs.has(id)) dispatch({ type: 'ended', id, outcome, lived });
  }

  return {
    get session() {
      return session;
    },
    dispatch,
    poke() {
      for (const run of runs.values()) run.poke();
      // A connection that was found dead has ended by then.
      setTimeout(dispatch, 0, { type: 'wake' });
    },
  };
}
