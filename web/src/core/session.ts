/**
 * The connection as a pure state machine: (session, event) gives the next session. It knows no clock, no
 * timer and no socket. What has to be done is the difference between two sessions: `connector.ts` opens
 * the connections a session names, drops the others, and comes back when its next deadline has passed.
 */
import type { Outcome } from '../transport/transport.ts';
import { backoff } from './backoff.ts';
import type { Failure } from './errors.ts';
import type {
  CloseReason,
  ConnectionState,
  ConnectionStatus,
  Timing,
  TransportName,
} from './types.ts';

export const STRIKES = 3;
export const FAILED_CONNECTS = 10;

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
  readonly since: number | null;
  readonly notice: boolean;
  readonly lost: boolean;
  readonly retryAt: number | null;
  readonly probeAt: number | null;
  readonly error: Failure | null;
  /** What ended the previous connection, as the server counts it. */
  readonly why: string | null;
  readonly closed: CloseReason | null;
}

export type SessionEvent =
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
  | { readonly type: 'tick' | 'wake' | 'pause' | 'resume' }
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

export const IDLE: Session = {
  phase: 'idle',
  rung: 0,
  main: 0,
  probe: 0,
  last: 0,
  expired: false,
  attempt: 0,
  strikes: 0,
  failures: 0,
  cause: null,
  proven: false,
  opened: false,
  since: null,
  notice: false,
  lost: false,
  retryAt: null,
  probeAt: null,
  error: null,
  why: null,
  closed: null,
};

/** No connection, and no wish for one. */
const REST = {
  main: 0,
  probe: 0,
  since: null,
  notice: false,
  lost: false,
  retryAt: null,
  probeAt: null,
} as const;

const CALM = { attempt: 0, strikes: 0, failures: 0 } as const;

export function step(s: Session, event: SessionEvent, policy: Policy, ambient: Ambient): Session {
  const { now } = ambient;
  const { phase } = s;
  if (phase === 'closed') return s;
  switch (event.type) {
    case 'start': {
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
      return phase === 'idle' || phase === 'paused' ? s : { ...s, ...REST, phase: 'paused' };
    case 'resume':
      return phase === 'paused' ? connect(s, now) : s;
    case 'close':
      return {
        ...s,
        ...REST,
        phase: 'closed',
        closed: event.reason,
        error: event.error ?? s.error,
      };
  }
}

/** When `tick` will next have something to do; null: not before another event. */
export function deadline(s: Session, timing: Timing): number | null {
  const { since, retryAt, probeAt } = s;
  const all = [retryAt, probeAt];
  if (since !== null && !s.notice) all.push(since + timing.notice);
  if (since !== null && !s.lost) all.push(since + timing.lost);
  const due = all.filter((at) => at !== null);
  return due.length ? Math.min(...due) : null;
}

function tick(s: Session, timing: Timing, now: number): Session {
  const passed = (at: number | null, after = 0) => at !== null && now >= at + after;
  let next = s;
  if (!s.notice && passed(s.since, timing.notice)) next = { ...next, notice: true };
  if (!s.lost && passed(s.since, timing.lost)) next = { ...next, lost: true };
  if (passed(s.retryAt)) next = connect(next, now);
  return passed(s.probeAt) ? probe(next) : next;
}

function connect(s: Session, now: number, expired = false): Session {
  const id = s.last + 1;
  // "No connection" is counted from the moment one was lost, not from each attempt.
  const since = s.since ?? now;
  return { ...s, phase: 'connecting', main: id, last: id, expired, since, retryAt: null };
}

function probe(s: Session): Session {
  if (s.rung === 0 || s.probe || s.phase !== 'open') return s;
  const id = s.last + 1;
  return { ...s, probe: id, last: id, probeAt: null };
}

const probeEvery = (cause: Session['cause'], timing: Timing): number =>
  cause === 'disabled' ? 10 * timing.probe : timing.probe;

function opened(s: Session, id: number, timing: Timing, now: number): Session {
  const climbs = id === s.probe;
  if (!id || (!climbs && id !== s.main)) return s;
  const open = { ...s, ...REST, phase: 'open', main: id, opened: true, error: null } as const;
  if (climbs || s.rung === 0)
    return { ...open, ...(climbs && CALM), rung: 0, cause: null, proven: true };
  // That everything failed says nothing against the first rung: it is tried at once, but only once.
  const { cause } = s;
  const probeAt = now + (cause === 'failures' ? 1000 : probeEvery(cause, timing));
  return { ...open, cause: cause === 'failures' ? 'strikes' : cause, probeAt };
}

function probeEnded(s: Session, outcome: Outcome, { rungs, timing }: Policy, now: number): Session {
  const cause = outcome.kind === 'disabled' ? 'disabled' : s.cause;
  const next = { ...s, probe: 0, cause, probeAt: now + probeEvery(cause, timing) };
  const middle = rungs.indexOf('long-poll');
  // Streams stay blocked, but the rung between may work again. One failure there falls back.
  return middle > 0 && s.rung > middle
    ? connect({ ...next, probeAt: null, rung: middle, failures: FAILED_CONNECTS - 1 }, now)
    : next;
}

function ended(
  s: Session,
  outcome: Outcome,
  lived: number,
  policy: Policy,
  ambient: Ambient,
): Session {
  const { timing, rungs } = policy;
  const { now, roll, active } = ambient;
  const said = outcome.kind === 'ended' ? outcome.reason : outcome.error.code;
  const stable = lived >= timing.stable;
  const next: Session = { ...s, ...REST, ...(stable && CALM), since: s.since ?? now, why: said };
  const { attempt } = next;
  const notice = { notice: s.notice, lost: s.lost };
  const lower = s.rung < rungs.length - 1;

  const down = (cause: Session['cause'], error: Failure | null): Session =>
    connect({ ...next, ...notice, rung: s.rung + 1, strikes: 0, failures: 0, cause, error }, now);
  const wait = (changes: Partial<Session>, floor: number, nth: number): Session => {
    const steps = active ? timing.backoff : timing.idleBackoff;
    const ms = nth < 0 ? floor : backoff(steps, nth, timing.jitter, roll, floor);
    const state = { ...next, ...notice, ...changes, attempt: attempt + 1 };
    return { ...state, phase: 'waiting', retryAt: now + ms };
  };

  if (outcome.kind === 'ended') {
    // Another tab or device of this user took the place: streaming back would throw that one out.
    if (said === 'replaced' && lower) return down('strikes', null);
    if ((said === 'token_expired' || said === 'revoked') && attempt === 0)
      return connect({ ...next, ...notice, attempt: 1 }, now, true);
    return wait({}, outcome.retryMs, attempt - 1);
  }
  const { error } = outcome;
  if (outcome.kind === 'disabled' && lower) return down('disabled', error);
  const strikes = next.strikes + (outcome.kind === 'failed' && outcome.strike ? 1 : 0);
  const failures = next.failures + 1;
  if (lower && strikes >= STRIKES) return down('strikes', error);
  if (lower && failures >= FAILED_CONNECTS) return down('failures', error);
  return wait({ strikes, failures, error }, error.retryAfterMs ?? 0, attempt);
}

/** What the application sees of it. */
export function describe(s: Session, policy: Policy, paused: readonly string[]): ConnectionState {
  const { phase, attempt, retryAt, notice, error, closed: reason } = s;
  const transport = policy.rungs[s.rung] as TransportName;
  const trying = s.lost ? 'error' : s.opened || attempt ? 'reconnecting' : 'connecting';
  const status = {
    idle: 'idle',
    paused: 'idle',
    closed: 'closed',
    open: transport === 'sse' ? 'connected' : 'polling',
    connecting: trying,
    waiting: trying,
  }[phase] as ConnectionStatus;
  return { status, transport, attempt, retryAt, notice, error, reason, paused };
}
