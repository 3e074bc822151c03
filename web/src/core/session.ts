/**
 * The connection as a pure state machine: (session, event) gives the next session. It knows no clock, no
 * timer and no socket. What has to be done is the difference between two sessions: `connector.ts` opens
 * the connections a session names, drops the others, and comes back when its next deadline has passed.
 */
import type { Outcome } from '../transport/transport.ts';
import { backoff } from './backoff.ts';
import { DISABLED, Failure } from './errors.ts';
import type {
  CloseReason,
  ConnectionState,
  ConnectionStatus,
  Timing,
  TransportName,
} from './types.ts';

export const STRIKES = 3;
export const FAILED_CONNECTS = 10;

/** The time of what is not going to happen. */
const NEVER = Infinity;

export interface Session {
  readonly phase: 'idle' | 'connecting' | 'open' | 'waiting' | 'paused' | 'closed';
  /** Index into the ladder of transports. */
  readonly rung: number;
  /** The connection that counts; 0 is none. Whatever an older one reports is ignored. */
  readonly main: number;
  /** A connection on the first rung, tried while a lower one works; 0 is none. */
  readonly probe: number;
  readonly last: number;
  /** The main connection needs a new token. */
  readonly expired: boolean;
  readonly attempt: number;
  readonly strikes: number;
  readonly failures: number;
  /** Why we are not on the first rung. */
  readonly cause: 'strikes' | 'failures' | 'disabled' | null;
  /** The first rung has worked in this session. */
  readonly proven: boolean;
  /** Any has. */
  readonly opened: boolean;
  /** Since when there is no connection although there should be. */
  readonly since: number;
  readonly notice: boolean;
  readonly lost: boolean;
  readonly retryAt: number;
  readonly probeAt: number;
  readonly error: Failure | null;
  /** What ended the previous connection, as the server counts it. */
  readonly why: string | null;
  readonly closed: CloseReason | null;
}

export type SessionEvent =
  /** For the first time, beginning with this rung, or after a pause. */
  | { readonly type: 'start'; readonly rung: number }
  | { readonly type: 'opened'; readonly id: number }
  /** `lived`: milliseconds from its first to its last byte. */
  | {
      readonly type: 'ended';
      readonly id: number;
      readonly outcome: Outcome;
      readonly lived: number;
    }
  /** A deadline may have passed. */
  | { readonly type: 'tick' | 'wake' | 'pause' }
  | { readonly type: 'close'; readonly reason: CloseReason; readonly error?: Failure };

export interface Policy {
  readonly rungs: readonly TransportName[];
  readonly timing: Timing;
}

/** What the machine may not look up itself. */
export interface Ambient {
  /** Milliseconds of a clock that never jumps. */
  readonly now: number;
  /** 0 to 1. */
  readonly roll: number;
  /** Some job is active. */
  readonly active: boolean;
}

/** No connection, and no wish for one. */
const REST = {
  main: 0,
  probe: 0,
  since: NEVER,
  notice: false,
  lost: false,
  retryAt: NEVER,
  probeAt: NEVER,
} as const;

const CALM = { attempt: 0, strikes: 0, failures: 0 } as const;

export const IDLE: Session = {
  ...REST,
  ...CALM,
  phase: 'idle',
  rung: 0,
  last: 0,
  expired: false,
  cause: null,
  proven: false,
  opened: false,
  error: null,
  why: null,
  closed: null,
};

export function step(s: Session, event: SessionEvent, policy: Policy, ambient: Ambient): Session {
  const { now } = ambient;
  const { phase } = s;
  if (phase === 'closed') return s;
  switch (event.type) {
    case 'start': {
      if (phase === 'paused') return connect(s, now);
      if (phase !== 'idle') return s;
      const rung = Math.min(event.rung, policy.rungs.length - 1);
      return connect({ ...s, rung, cause: rung ? 'strikes' : null }, now);
    }
    case 'opened':
      return opened(s, event.id, policy.timing, now);
    case 'ended':
      if (event.id === s.probe) return probeEnded(s, event.outcome, policy, now);
      return event.id === s.main ? ended(s, event.outcome, event.lived, policy, ambient) : s;
    case 'tick':
      return tick(s, policy.timing, now);
    case 'wake':
      return phase === 'waiting' ? connect(s, now) : probe(s);
    case 'pause':
      return phase === 'idle' ? s : { ...s, ...REST, phase: 'paused' };
    case 'close':
      return close(s, event.reason, event.error);
  }
}

/** When `tick` will next have something to do; Infinity: not before another event. */
export function deadline(s: Session, timing: Timing): number {
  const { since, retryAt, probeAt } = s;
  const notice = s.notice ? NEVER : since + timing.notice;
  return Math.min(retryAt, probeAt, notice, s.lost ? NEVER : since + timing.lost);
}

function tick(s: Session, timing: Timing, now: number): Session {
  const notice = now >= s.since + timing.notice;
  const next = { ...s, notice, lost: now >= s.since + timing.lost };
  if (now >= s.retryAt) return connect(next, now);
  return now >= s.probeAt ? probe(next) : next;
}

const close = (s: Session, closed: CloseReason, error = s.error): Session => ({
  ...s,
  ...REST,
  phase: 'closed',
  closed,
  error,
});

function connect(s: Session, now: number, expired = false): Session {
  const id = s.last + 1;
  // "No connection" is counted from the moment one was lost, not from each attempt.
  const since = Math.min(s.since, now);
  return { ...s, phase: 'connecting', main: id, last: id, expired, since, retryAt: NEVER };
}

function probe(s: Session): Session {
  if (!s.rung || s.probe || s.phase !== 'open') return s;
  const id = s.last + 1;
  return { ...s, probe: id, last: id, probeAt: NEVER };
}

const probeEvery = (cause: Session['cause'], timing: Timing): number =>
  cause === 'disabled' ? 10 * timing.probe : timing.probe;

function opened(s: Session, id: number, timing: Timing, now: number): Session {
  const climbs = id === s.probe;
  if (!climbs && id !== s.main) return s;
  const open = { ...s, ...REST, phase: 'open', main: id, opened: true, error: null } as const;
  if (climbs || !s.rung)
    return { ...open, ...(climbs && CALM), rung: 0, cause: null, proven: true };
  // That everything failed says nothing against the first rung: it is tried at once, but only once.
  const { cause } = s;
  if (cause === 'failures') return { ...open, cause: 'strikes', probeAt: now + 1000 };
  return { ...open, probeAt: now + probeEvery(cause, timing) };
}

const isDisabled = (outcome: Outcome): boolean =>
  outcome instanceof Failure && outcome.problem === DISABLED;

function probeEnded(s: Session, outcome: Outcome, { rungs, timing }: Policy, now: number): Session {
  const cause = isDisabled(outcome) ? 'disabled' : s.cause;
  const next = { ...s, probe: 0, cause, probeAt: now + probeEvery(cause, timing) };
  const middle = rungs.indexOf('long-poll');
  // Streams stay blocked, but the rung between may work again. One failure there falls back.
  return middle > 0 && s.rung > middle
    ? connect({ ...next, probeAt: NEVER, rung: middle, failures: FAILED_CONNECTS - 1 }, now)
    : next;
}

function ended(
  s: Session,
  outcome: Outcome,
  lived: number,
  { timing, rungs }: Policy,
  { now, roll, active }: Ambient,
): Session {
  const failed = outcome instanceof Failure;
  const why = failed ? outcome.code : outcome.reason;
  const calm = lived >= timing.stable && CALM;
  const lost = { main: 0, probe: 0, probeAt: NEVER, since: Math.min(s.since, now), why };
  const next = { ...s, ...lost, ...calm };
  const { attempt } = next;
  const lower = s.rung < rungs.length - 1;

  const down = (cause: Session['cause'], error: Failure | null): Session =>
    connect({ ...next, rung: s.rung + 1, strikes: 0, failures: 0, cause, error }, now);
  const wait = (nth: number, floor = 0, changes: Partial<Session> = {}): Session => {
    const steps = active ? timing.backoff : timing.idleBackoff;
    const retryAt = now + backoff(steps, nth, timing.jitter, roll, floor);
    return { ...next, ...changes, phase: 'waiting', attempt: attempt + 1, retryAt };
  };

  if (!failed) {
    // Another tab or device of this user took the place: streaming back would throw that one out.
    if (why === 'replaced' && lower) return down('strikes', null);
    if ((why === 'token_expired' || why === 'revoked') && !attempt)
      return connect({ ...next, attempt: 1 }, now, true);
    return wait(attempt - 1, outcome.retryMs);
  }
  if (isDisabled(outcome)) {
    if (lower) return down('disabled', outcome);
  } else if (why === 'forbidden') return close(s, why, outcome);
  // What a proxy that blocks streams would cause.
  const strike = rungs[s.rung] === 'sse' && (why === 'timeout' || why === 'protocol');
  const strikes = next.strikes + Number(strike);
  const failures = next.failures + 1;
  if (lower && strikes >= STRIKES) return down('strikes', outcome);
  if (lower && failures >= FAILED_CONNECTS) return down('failures', outcome);
  return wait(attempt, outcome.retryAfterMs, { strikes, failures, error: outcome });
}

/** What the application sees of it. */
export function describe(s: Session, policy: Policy, paused: readonly string[]): ConnectionState {
  const { phase, attempt, retryAt, notice, error, why, closed: reason } = s;
  const transport = policy.rungs[s.rung] as TransportName;
  const trying = s.lost ? 'error' : s.opened || attempt ? 'reconnecting' : 'connecting';
  const status: Partial<Record<Session['phase'], ConnectionStatus>> = {
    idle: 'idle',
    paused: 'idle',
    closed: 'closed',
    open: transport === 'sse' ? 'connected' : 'polling',
  };
  return {
    status: status[phase] ?? trying,
    transport,
    attempt,
    retryAt: retryAt < NEVER ? retryAt : null,
    notice,
    error,
    why,
    reason,
    paused,
  };
}
