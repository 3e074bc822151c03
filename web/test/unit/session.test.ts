import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TIMING } from '../../src/core/client.ts';
import { DISABLED, Failure } from '../../src/core/errors.ts';
import {
  deadline,
  describe as describeSession,
  FAILED_CONNECTS,
  IDLE,
  type Policy,
  type Session,
  type SessionEvent,
  step,
} from '../../src/core/session.ts';
import { LADDER } from '../../src/transport/ladder.ts';
import type { Outcome } from '../../src/transport/transport.ts';

const policy: Policy = { rungs: LADDER, timing: TIMING };
/** A strike is what a proxy that blocks streams would cause. */
const failed = (strike = false): Outcome => new Failure(strike ? 'timeout' : 'network');
const disabled = (): Outcome => new Failure('forbidden', { status: 403, problem: DISABLED });
const goodbye = (reason: string, retryMs = 0): Outcome => ({ reason, retryMs });

/** A session with a clock of its own. */
class Play {
  now = 0;
  session: Session = IDLE;
  do(event: SessionEvent): this {
    this.session = step(this.session, event, policy, { now: this.now, roll: 0, active: true });
    return this;
  }
  end(outcome: Outcome, lived = 0): this {
    return this.do({ type: 'ended', id: this.session.main, outcome, lived });
  }
  open(): this {
    return this.do({ type: 'opened', id: this.session.main });
  }
  /** Lets time pass up to the next deadline; answers how long that took. */
  pass(): number {
    const before = this.now;
    const at = deadline(this.session, TIMING);
    if (at < Infinity) this.now = at;
    this.do({ type: 'tick' });
    return this.now - before;
  }
  /** Lets time pass until the waiting is over. */
  retry(): number {
    const before = this.now;
    while (this.session.phase === 'waiting') this.pass();
    return this.now - before;
  }
  get status() {
    return describeSession(this.session, policy, []).status;
  }
}
const started = () => new Play().do({ type: 'start', rung: 0 });

describe('whatever happens, in whatever order', () => {
  const outcome: fc.Arbitrary<Outcome> = fc.oneof(
    fc.boolean().map(failed),
    fc.constantFrom('timeout', 'token_expired', 'shutdown', 'replaced').map((r) => goodbye(r)),
    fc.constant(disabled()),
  );
  type Move =
    | { kind: 'plain'; type: 'wake' | 'pause' | 'start' }
    | { kind: 'pass' }
    | { kind: 'open' | 'end'; of: 'main' | 'probe' | 'old'; outcome: Outcome; lived: number };
  const move: fc.Arbitrary<Move> = fc.oneof(
    fc
      .constantFrom('wake' as const, 'pause' as const, 'start' as const)
      .map((type) => ({ kind: 'plain' as const, type })),
    fc.constant({ kind: 'pass' as const }),
    fc.record({
      kind: fc.constantFrom('open' as const, 'end' as const),
      of: fc.constantFrom('main' as const, 'probe' as const, 'old' as const),
      outcome,
      lived: fc.nat(60_000),
    }),
  );

  test('there is one main connection, at most one probe, and always a next thing to happen', () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
        const play = started();
        for (const m of moves) {
          const { main, probe, last } = play.session;
          const id = 'of' in m ? (m.of === 'old' ? last - 1 : m.of === 'main' ? main : probe) : 0;
          if (m.kind === 'plain') play.do({ type: m.type, rung: 0 });
          else if (m.kind === 'pass') play.pass();
          else if (!id) continue;
          else if (m.kind === 'open') play.do({ type: 'opened', id });
          else play.do({ type: 'ended', id, outcome: m.outcome, lived: m.lived });

          const s = play.session;
          expect(s.rung).toBeGreaterThanOrEqual(0);
          expect(s.rung).toBeLessThan(LADDER.length);
          expect(s.last).toBeGreaterThanOrEqual(last);
          expect(s.main <= s.last && s.probe <= s.last).toBe(true);
          if (s.phase === 'connecting' || s.phase === 'open') expect(s.main).toBeGreaterThan(0);
          else expect(s.main).toBe(0);
          // A probe only beside a lower rung that works.
          if (s.probe) expect(s.rung > 0 && s.phase === 'open' && s.probe !== s.main).toBe(true);
          if (s.phase === 'waiting') expect(s.retryAt).toBeGreaterThanOrEqual(play.now);
          if (s.phase === 'open' && s.rung > 0)
            expect(s.probe || s.probeAt < Infinity).toBeTruthy();
          if (s.phase === 'open' || s.phase === 'paused') expect(s.notice || s.lost).toBe(false);
          // The timer of a deadline that stays in the past would fire for ever.
          if (m.kind === 'pass') expect(deadline(s, TIMING)).toBeGreaterThan(play.now);
          if (s.lost) expect(s.since).toBeLessThan(Infinity);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('what an old connection reports changes nothing', () => {
    const play = started().end(failed());
    play.retry();
    const before = play.session;
    play.do({ type: 'ended', id: before.main - 1, outcome: failed(), lived: 0 });
    play.do({ type: 'opened', id: before.main - 1 });
    expect(play.session).toBe(before);
  });

  test('closed is the end', () => {
    const play = started().open().do({ type: 'close', reason: 'closed' });
    const before = play.session;
    play.do({ type: 'wake' }).do({ type: 'start', rung: 0 });
    expect(play.session).toBe(before);
    expect(deadline(before, TIMING)).toBe(Infinity);
  });
});

test('failures wait 1, 2, 4, 8, 10, 10 s; thirty stable seconds begin anew', () => {
  const play = started();
  const waits = [1, 2, 3, 4, 5, 6].map(() => play.end(failed()).retry() / 1000);
  expect(waits).toEqual([1, 2, 4, 8, 10, 10]);
  expect(play.open().end(failed(), 5000).retry()).toBe(10_000);
  expect(play.open().end(failed(), 30_000).retry()).toBe(1000);
});

test('three strikes on streaming step down to long poll at once, and the next page remembers', () => {
  const play = started();
  play.end(failed(true)).retry();
  play.end(failed(true)).retry();
  play.end(failed(true));
  expect(play.session).toMatchObject({ phase: 'connecting', rung: 1, cause: 'strikes' });
  expect(play.session.proven).toBe(false);
  expect(play.open().status).toBe('polling');
});

test('ten failed connects step down, and ten more again; the last rung never gives up', () => {
  const play = started();
  for (let n = 1; n <= 2; n++) {
    for (let i = 1; i < FAILED_CONNECTS; i++) play.end(failed()).retry();
    expect(play.session.rung).toBe(n - 1);
    play.end(failed());
    expect(play.session).toMatchObject({ rung: n, phase: 'connecting', cause: 'failures' });
  }
  for (let i = 0; i < 100; i++) play.end(failed()).retry();
  expect(play.session).toMatchObject({ rung: 2, phase: 'connecting' });
});

test('a lower rung probes streaming every 60 s, and climbs when that opens', () => {
  const play = new Play().do({ type: 'start', rung: 1 }).open();
  expect(play.pass()).toBe(60_000);
  const { main, probe } = play.session;
  expect(probe).toBeGreaterThan(main);
  play.do({ type: 'ended', id: probe, outcome: failed(true), lived: 0 });
  expect(play.session).toMatchObject({ main, probe: 0, rung: 1, phase: 'open' });
  expect(play.pass()).toBe(60_000);
  play.do({ type: 'opened', id: play.session.probe });
  expect(play.session).toMatchObject({ rung: 0, phase: 'open', probe: 0, strikes: 0, attempt: 0 });
  expect(play.status).toBe('connected');
});

test('coming back on a lower rung after everything had failed probes streaming at once', () => {
  const play = started();
  for (let i = 0; i < FAILED_CONNECTS; i++) play.end(failed()).retry();
  play.open();
  expect(play.pass()).toBe(1000);
  expect(play.session.probe).toBeGreaterThan(0);
});

test('from polling a failed probe tries long poll; one failure there falls back to polling', () => {
  const play = new Play().do({ type: 'start', rung: 2 }).open();
  play.pass();
  play.do({ type: 'ended', id: play.session.probe, outcome: failed(true), lived: 0 });
  expect(play.session).toMatchObject({ rung: 1, phase: 'connecting' });
  play.end(failed());
  expect(play.session).toMatchObject({ rung: 2, phase: 'connecting' });
});

test('"reconnecting" is worth a notice after 10 s, and an error after two minutes of trying', () => {
  const play = started().open();
  play.now = 1000;
  play.end(failed());
  expect(play.status).toBe('reconnecting');
  const told: Record<string, number> = {};
  while (!play.session.lost) {
    if (play.session.phase === 'connecting') play.end(failed());
    else play.pass();
    if (play.session.notice) told.notice ??= play.now;
    if (play.session.lost) told.lost ??= play.now;
  }
  expect(told).toEqual({ notice: 11_000, lost: 121_000 });
  expect(play.status).toBe('error');
  play.retry();
  expect(play.status).toBe('error');
  expect(play.open().status).not.toBe('error');
});

test("the server's goodbye is obeyed: its delay, its reason, and a new token when that expired", () => {
  const play = started().open();
  play.end(goodbye('timeout', 250), 60_000);
  expect(play.session.why).toBe('timeout');
  expect(play.retry()).toBe(250);
  play.open().end(goodbye('shutdown', 5000), 60_000);
  expect(play.retry()).toBe(5000);
  play.open().end(goodbye('token_expired'), 60_000);
  expect(play.session).toMatchObject({ phase: 'connecting', expired: true });
  // Not in a circle, though.
  play.open().end(goodbye('token_expired'), 100);
  expect(play.session.phase).toBe('waiting');
});

test('a place taken by another tab is not taken back: this one polls', () => {
  expect(started().open().end(goodbye('replaced'), 9000).session.rung).toBe(1);
});

test('streaming that is switched off for this user is asked about only every ten minutes', () => {
  const play = started();
  play.end(disabled());
  expect(play.session).toMatchObject({ rung: 1, cause: 'disabled' });
  play.open();
  expect(play.pass()).toBe(600_000);
});

test('a refusal for any other reason closes for good', () => {
  const play = started().end(new Failure('forbidden', { status: 403, problem: 'scope_missing' }));
  expect(play.session).toMatchObject({ phase: 'closed', closed: 'forbidden', main: 0 });
});

test('a pause drops everything, counts no outage, and ends with an attempt at once', () => {
  const play = started().open().do({ type: 'pause' });
  expect(play.session).toMatchObject({ phase: 'paused', main: 0 });
  expect(deadline(play.session, TIMING)).toBe(Infinity);
  play.now += 10_000_000;
  play.do({ type: 'start', rung: 0 });
  expect(play.session).toMatchObject({ phase: 'connecting', notice: false, since: play.now });
});

test('a wake ends the waiting, and leaves a healthy stream alone', () => {
  const play = started().end(failed());
  expect(play.do({ type: 'wake' }).session.phase).toBe('connecting');
  const open = play.open().session;
  expect(play.do({ type: 'wake' }).session).toBe(open);
});
