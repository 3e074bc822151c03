/**
 * The connection as a pure state machine: (session, event) gives (session, effects). It knows no clock,
 * no timer and no socket; `connector.ts` carries out what it says.
 */
import type { Outcome } from '../transport/transport.ts';
import { backoff } from './backoff.ts';
import type { Failure } from './errors.ts';
import type { CloseReason, ConnectionState, ConnectionStatus, Timing, TransportName } from './types.ts';

export const STRIKES = 3;
export const FAILED_CONNECTS = 10;

export type TimerName = 'retry' | 'probe' | 'notice' | 'lost';

export interface Session {
  readonly phase: 'idle' | 'connecting' | 'open' | 'waiting' | 'paused' | 'closed';
  /** Index into the ladder of transports. */
  readonly rung: number;
  /** The connection that counts; 0 is none. Whatever an older one reports is ignored. */
  readonly main: number;
  /** A stream tried while a lower rung works. */
  readonly probe: number;
  readonly last: number;
  readonly attempt: number;
  readonly strikes: number;
  readonly failures: number;
  /** Why we are not on the first rung. */
  readonly cause: 'strikes' | 'failures' | 'disabled' | null;
  /** The first rung has worked in this session. */
  readonly proven: boolean;
  readonly opened: boolean;
  readonly notice: boolean;
  readonly lost: boolean;
  readonly retryAt: number | null;
  readonly error: Failure | null;
  /** What ended the previous connection, as the server counts it. */
  readonly why: string | null;
  readonly closed: CloseReason | null;
}

export type SessionEvent =
  | { readonly type: 'start'; readonly rung: number }
  | { readonly type: 'opened'; readonly id: number }
  /** `lived`: milliseconds from its first to its last byte. */
  | { readonly type: 'ended'; readonly id: number; readonly outcome: Outcome; readonly lived: number }
  | { readonly type: 'timer'; readonly name: TimerName }
  | { readonly type: 'wake' | 'pause' | 'resume' }
  | { readonly type: 'close'; readonly reason: CloseReason };

export type Effect =
  | {
      readonly type: 'connect';
      readonly id: number;
      readonly rung: number;
      readonly why: string | null;
      readonly expired: boolean;
    }
  | { readonly type: 'drop'; readonly id: number }
  /** `ms` null: cancel. */
  | { readonly type: 'timer'; readonly name: TimerName; readonly ms: number | null }
  /** Start here on the next page; null: from the top. */
  | { readonly type: 'remember'; readonly rung: number | null };

export interface Policy {
  readonly rungs: readonly TransportName[];
  readonly timing: Timing;
}

/** What the machine may not look up itself. */
export interface Ambient {
  readonly now: number;
  /** 0 to 1. */
  readonly roll: number;
  readonly active: boolean;
}

export type Step = readonly [Session, readonly Effect[]];

export const IDLE: Session = {
  phase: 'idle',
  rung: 0,
  main: 0,
  probe: 0,
  last: 0,
  attempt: 0,
  strikes: 0,
  failures: 0,
  cause: null,
  proven: false,
  opened: false,
  notice: false,
  lost: false,
  retryAt: null,
  error: null,
  why: null,
  closed: null,
};

const timer = (name: TimerName, ms: number | null): Effect => ({ type: 'timer', name, ms });
const drops = (s: Session): Effect[] =>
  [s.main, s.probe].filter(Boolean).map((id) => ({ type: 'drop', id }));

export function step(s: Session, event: SessionEvent, policy: Policy, ambient: Ambient): Step {
  const { timing, rungs } = policy;
  if (s.phase === 'closed') return [s, []];
  switch (event.type) {
    case 'start':
      return s.phase === 'idle'
        ? connect({ ...s, rung: Math.min(event.rung, rungs.length - 1), cause: event.rung ? 'strikes' : null }, [
            ...watch(timing),
          ])
        : [s, []];
    case 'opened':
      return opened(s, event.id, timing);
    case 'ended':
      if (event.id === s.probe) return probeEnded(s, event.outcome, policy);
      return event.id === s.main ? ended(s, event.outcome, event.lived, policy, ambient) : [s, []];
    case 'timer':
      switch (event.name) {
        case 'retry':
          return s.phase === 'waiting' ? connect(s, []) : [s, []];
        case 'probe':
          return probe(s);
        default:
          return s.phase === 'connecting' || s.phase === 'waiting'
            ? [{ ...s, notice: true, lost: s.lost || event.name === 'lost' }, []]
            : [s, []];
      }
    case 'wake':
      if (s.phase === 'waiting') return connect(s, [timer('retry', null)]);
      return s.phase === 'open' ? probe(s) : [s, []];
    case 'pause':
      if (s.phase === 'idle' || s.phase === 'paused') return [s, []];
      return [
        { ...s, phase: 'paused', main: 0, probe: 0, notice: false, retryAt: null },
        [...drops(s), ...quiet()],
      ];
    case 'resume':
      return s.phase === 'paused' ? connect(s, watch(timing)) : [s, []];
    case 'close':
      return close(s, event.reason, s.error);
  }
}

const quiet = (): Effect[] => [
  timer('retry', null),
  timer('probe', null),
  timer('notice', null),
  timer('lost', null),
];
const watch = (timing: Timing): Effect[] => [
  timer('notice', timing.notice),
  timer('lost', timing.lost),
];

function close(s: Session, reason: CloseReason, error: Failure | null): Step {
  return [
    { ...s, phase: 'closed', main: 0, probe: 0, notice: false, retryAt: null, error, closed: reason },
    [...drops(s), ...quiet()],
  ];
}

function connect(s: Session, effects: readonly Effect[], expired = false): Step {
  const id = s.last + 1;
  return [
    { ...s, phase: 'connecting', main: id, last: id, retryAt: null },
    [...effects, { type: 'connect', id, rung: s.rung, why: s.why, expired }],
  ];
}

function opened(s: Session, id: number, timing: Timing): Step {
  if (id !== s.main && id !== s.probe) return [s, []];
  const climbs = id === s.probe;
  const rung = climbs ? 0 : s.rung;
  // A rung reached because everything failed says nothing against the first one: try that at once.
  const wait = s.cause === 'failures' ? 1000 : s.cause === 'disabled' ? 10 * timing.probe : timing.probe;
  const effects: Effect[] = [timer('retry', null), timer('notice', null), timer('lost', null)];
  if (climbs && s.main) effects.push({ type: 'drop', id: s.main });
  effects.push(timer('probe', rung > 0 ? wait : null));
  if (climbs) effects.push({ type: 'remember', rung: null });
  const fresh = climbs ? { attempt: 0, strikes: 0, failures: 0 } : {};
  return [
    {
      ...s,
      ...fresh,
      phase: 'open',
      main: id,
      probe: climbs ? 0 : s.probe,
      rung,
      cause: rung > 0 ? (s.cause === 'failures' ? 'strikes' : s.cause) : null,
      proven: s.proven || rung === 0,
      opened: true,
      notice: false,
      lost: false,
      retryAt: null,
      error: null,
    },
    effects,
  ];
}

function probe(s: Session): Step {
  if (s.rung === 0 || s.probe || s.phase !== 'open') return [s, []];
  const id = s.last + 1;
  return [
    { ...s, probe: id, last: id },
    [timer('probe', null), { type: 'connect', id, rung: 0, why: 'other', expired: false }],
  ];
}

function probeEnded(s: Session, outcome: Outcome, { rungs, timing }: Policy): Step {
  const next: Session = { ...s, probe: 0 };
  if (outcome.kind === 'failed' && outcome.error.code === 'signed-out')
    return close(next, 'signed-out', outcome.error);
  const cause = outcome.kind === 'disabled' ? 'disabled' : s.cause;
  const again = timer('probe', cause === 'disabled' ? 10 * timing.probe : timing.probe);
  const middle = rungs.indexOf('long-poll');
  // The stream stays blocked, but the rung between may work again; one failure there falls back.
  if (s.phase === 'open' && middle > 0 && s.rung > middle)
    return connect({ ...next, cause, rung: middle, failures: FAILED_CONNECTS - 1 }, [
      { type: 'drop', id: s.main },
      ...watch(timing),
    ]);
  return [{ ...next, cause }, [again]];
}

const WHY: Readonly<Record<string, string>> = {
  network: 'network',
  silent: 'silent',
  timeout: 'timeout',
  token_expired: 'token_expired',
  shutdown: 'shutdown',
  overloaded: 'overloaded',
};

function ended(s: Session, outcome: Outcome, lived: number, policy: Policy, ambient: Ambient): Step {
  const { timing, rungs } = policy;
  const stable = lived >= timing.stable;
  const lower = s.rung < rungs.length - 1;
  const base: Session = {
    ...s,
    main: 0,
    ...(stable ? { attempt: 0, strikes: 0, failures: 0 } : {}),
    why: WHY[outcome.kind === 'ended' ? outcome.reason : outcome.error.code] ?? 'other',
  };
  // The clock of "no connection" runs from the moment one was lost, not from each failed attempt.
  const effects: Effect[] = [timer('probe', null)];
  if (s.probe) effects.push({ type: 'drop', id: s.probe });
  if (s.phase === 'open') effects.push(...watch(timing));
  const now: Session = { ...base, probe: 0 };

  const down = (cause: Session['cause'], error: Failure | null): Step =>
    connect({ ...now, rung: s.rung + 1, strikes: 0, failures: 0, cause, error }, [
      ...effects,
      ...(cause === 'strikes' && !s.proven
        ? [{ type: 'remember', rung: s.rung + 1 } as const]
        : []),
    ]);
  const wait = (state: Session, floor: number, first: number): Step => {
    const steps = ambient.active ? timing.backoff : timing.idleBackoff;
    const ms = first < 0 ? floor : backoff(steps, first, timing.jitter, ambient.roll, floor);
    return [
      { ...state, phase: 'waiting', retryAt: ambient.now + ms },
      [...effects, timer('retry', ms)],
    ];
  };

  if (outcome.kind === 'ended') {
    // Another tab or device of this user took the place: streaming back would throw that one out.
    if (outcome.reason === 'replaced' && lower) return down('strikes', null);
    const expired = outcome.reason === 'token_expired' || outcome.reason === 'revoked';
    if (expired && base.attempt === 0)
      return connect({ ...now, attempt: 1 }, effects, true);
    return wait({ ...now, attempt: base.attempt + 1 }, outcome.retryMs, base.attempt - 1);
  }

  const { error } = outcome;
  if (error.code === 'signed-out') return close(now, 'signed-out', error);
  if (outcome.kind === 'disabled') {
    if (lower) return down('disabled', error);
  } else if (error.code === 'forbidden') return close(now, 'forbidden', error);

  const strikes = base.strikes + (outcome.kind === 'failed' && outcome.strike ? 1 : 0);
  const failures = base.failures + 1;
  if (lower && strikes >= STRIKES) return down('strikes', error);
  if (lower && failures >= FAILED_CONNECTS)
    return down('failures', error);
  return wait(
    { ...now, strikes, failures, attempt: base.attempt + 1, error },
    error.retryAfterMs ?? 0,
    base.attempt,
  );
}

/** What the application sees of it. */
export function describe(s: Session, policy: Policy, paused: readonly string[]): ConnectionState {
  const transport = policy.rungs[s.rung] as TransportName;
  let status: ConnectionStatus;
  if (s.phase === 'closed') status = 'closed';
  else if (s.phase === 'idle' || s.phase === 'paused') status = 'idle';
  else if (s.phase === 'open') status = transport === 'sse' ? 'connected' : 'polling';
  else if (s.lost) status = 'error';
  else status = s.opened || s.attempt > 0 ? 'reconnecting' : 'connecting';
  const { attempt, retryAt, notice, error, closed: reason } = s;
  return { status, transport, attempt, retryAt, notice, error, reason, paused };
}
