import { asFailure, Failure } from '../core/errors.ts';
import { readPage } from '../core/wire.ts';
import type { Outcome, Run, Transport } from './transport.ts';

const MAX_POLL_MS = 30_000;

/** Long polls, or plain polls where the server should not hold the request. */
const changes =
  (name: 'long-poll' | 'poll'): Transport =>
  async (run: Run): Promise<Outcome> => {
    const { env, timing, config, signal } = run;
    let wake: (() => void) | null = null;
    const nudge = () => wake?.();
    run.onPoke(() => {
      nudge();
      return false;
    });
    signal.addEventListener('abort', nudge, { once: true });
    const rest = (ms: number | null) =>
      new Promise<void>((resolve) => {
        const timer = ms === null ? undefined : setTimeout(resolve, ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      }).finally(() => {
        wake = null;
      });

    try {
      let { auth } = run;
      if (!config.transports) {
        await configure(run);
        auth = 'connect';
      }
      if (config.transports && !config.transports.includes(name))
        return { kind: 'disabled', error: new Failure('http', `No ${name} here.`) };
      let interval = 0;
      for (;;) {
        // A hidden page asks for nothing; it catches up when it shows.
        while (!env.lifecycle.isVisible() && !signal.aborted) await rest(null);
        signal.throwIfAborted();

        // The first answer comes at once, as the proof that this rung works.
        const hold = name === 'long-poll' && interval > 0;
        const wait = hold ? (timing.longPoll ?? config.longPollMs) : 0;
        const base = timing.poll ?? config.pollMs;
        const startedAt = env.now();
        const page = await ask(run, wait, auth);
        auth = 'connect';
        run.opened();
        run.alive();
        for (const delivery of page.deliveries) run.deliver(delivery);
        if (page.more) continue;

        const news = page.deliveries.some(({ type }) => type === 'job' || type === 'notification');
        interval = news || run.busy() ? base : Math.min(Math.max(interval * 2, base), MAX_POLL_MS);
        if (name === 'poll') await rest(interval * (1 - 0.2 * env.random()));
        // A server or proxy that does not hold the request must not be asked in a tight loop.
        else if (hold && !news && env.now() - startedAt < wait / 2) await rest(base);
      }
    } catch (thrown) {
      const error = asFailure(signal.aborted ? signal.reason : thrown);
      return { kind: 'failed', error, strike: false };
    }
  };

async function ask(run: Run, waitMs: number, reason: Run['auth']) {
  const late = AbortSignal.timeout(waitMs + run.timing.connect);
  const call = {
    query: { after: run.cursor(), limit: 256, wait: waitMs ? waitMs / 1000 : null },
    signal: AbortSignal.any([run.signal, late]),
    reason,
  };
  const page = readPage(
    await run.http.json('changes', call).catch((error: unknown) => {
      throw late.aborted ? new Failure('timeout', 'No answer in time.') : error;
    }),
  );
  if (!page) throw new Failure('protocol', 'The answer was not a page of changes.');
  return page;
}

async function configure({ http, config, signal, auth }: Run): Promise<void> {
  const answer = (await http.json('client-config', { signal, reason: auth })) as Record<string, unknown>;
  const ms = (value: unknown, fallback: number) =>
    typeof value === 'number' && value > 0 ? value * 1000 : fallback;
  config.pollMs = ms(answer.poll_seconds, config.pollMs);
  config.longPollMs = ms(answer.long_poll_seconds, config.longPollMs);
  if (Array.isArray(answer.transports)) config.transports = answer.transports.map(String);
}

export const longPoll: Transport = changes('long-poll');
export const poll: Transport = changes('poll');
