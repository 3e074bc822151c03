import { asFailure, Failure } from '../core/errors.ts';
import { number, readPage } from '../core/wire.ts';
import type { Outcome, Run, Transport } from './transport.ts';

const LIMIT = 256;
const MAX_POLL_MS = 30_000;
const POLL_JITTER = 0.2;

/** Long polls, or plain polls where the server should not hold the request. */
const changes =
  (name: 'long-poll' | 'poll'): Transport =>
  async (run: Run): Promise<Outcome> => {
    const { env, timing, config, http, cursor } = run;
    const { signal } = run.abort;
    let wake = () => {};
    run.onPoke(() => {
      wake();
      return false;
    });
    signal.addEventListener('abort', () => wake());
    const rest = (ms?: number) =>
      new Promise<void>((resolve) => {
        const timer = ms && setTimeout(resolve, ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });

    try {
      if (!config.transports) {
        const answer = await http.json('client-config', { signal, reason: run.auth });
        config.pollMs = (number(answer.poll_seconds) ?? 5) * 1000;
        config.longPollMs = (number(answer.long_poll_seconds) ?? 25) * 1000;
        if (Array.isArray(answer.transports)) config.transports = answer.transports;
      }
      if (config.transports && !config.transports.includes(name))
        return { kind: 'disabled', error: new Failure('http') };
      const base = timing.poll ?? config.pollMs;
      for (let interval = 0; ; ) {
        // A hidden page asks for nothing; it catches up when it shows.
        while (!env.lifecycle.isVisible() && !signal.aborted) await rest();
        // The first answer comes at once, as the proof that this rung works.
        const hold = name === 'long-poll' && interval > 0;
        const wait = hold ? (timing.longPoll ?? config.longPollMs) : 0;
        const late = setTimeout(
          () => run.abort.abort(new Failure('timeout')),
          wait + timing.connect,
        );
        const startedAt = env.now();
        const query = { after: cursor(), limit: LIMIT, wait: wait / 1000 };
        const page = readPage(
          await http.json('changes', { query, signal }).finally(() => clearTimeout(late)),
        );
        if (!page) throw new Failure('protocol');
        run.alive();
        for (const delivery of page.deliveries) run.deliver(delivery);
        if (page.more) continue;

        const news = page.deliveries.some(({ type }) => type === 'job' || type === 'notification');
        interval = news || run.busy() ? base : Math.min(Math.max(interval * 2, base), MAX_POLL_MS);
        if (name === 'poll') await rest(interval * (1 - POLL_JITTER * env.random()));
        // A server or proxy that does not hold the request must not be asked in a tight loop.
        else if (hold && !news && env.now() - startedAt < wait / 2) await rest(base);
      }
    } catch (thrown) {
      const error = asFailure(signal.aborted ? signal.reason : thrown);
      return { kind: 'failed', error, strike: false };
    }
  };

export const longPoll: Transport = changes('long-poll');
export const poll: Transport = changes('poll');
