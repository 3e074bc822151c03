import { DISABLED, Failure } from '../core/errors.ts';
import { readPage } from '../core/wire.ts';
import type { Run, Transport } from './transport.ts';

const LIMIT = 256;
const MAX_POLL_MS = 30_000;

/** Long polls, or plain polls where the server should not hold the request. */
const changes =
  (name: 'long-poll' | 'poll'): Transport =>
  async (run: Run): Promise<never> => {
    const { timing, config, http } = run;
    const { signal } = run.abort;
    const rest = (ms: number) =>
      new Promise<void>((resolve, reject) => {
        run.poke = resolve;
        signal.onabort = reject;
        setTimeout(resolve, ms);
      });

    run.limit(timing.connect);
    if (!config.transports)
      Object.assign(config, await http.json('client-config', { signal, reason: run.auth }));
    if (config.transports?.includes(name) === false)
      throw new Failure('http', { problem: DISABLED });
    const base = timing.poll ?? config.poll_seconds * 1000;
    for (let interval = 0; ; ) {
      // The first answer comes at once, as the proof that this rung works.
      const hold = name === 'long-poll' && interval > 0;
      const wait = hold ? (timing.longPoll ?? config.long_poll_seconds * 1000) : 0;
      run.limit(wait + timing.connect);
      const startedAt = Date.now();
      const query = { after: run.cursor(), limit: LIMIT, wait: wait / 1000 };
      const page = await http.json('changes', { query, signal });
      const deliveries = readPage(page);
      if (!deliveries) throw new Failure('protocol');
      run.alive();
      for (const delivery of deliveries) run.deliver(delivery);
      if (page.more) continue;

      // The last one only says that there is no more.
      const news = deliveries.length > 1;
      interval = news || run.busy() ? base : Math.min(Math.max(interval * 2, base), MAX_POLL_MS);
      if (name === 'poll') await rest(interval * (1 - timing.jitter * Math.random()));
      // A server or proxy that does not hold the request must not be asked in a tight loop.
      else if (hold && !news && Date.now() - startedAt < wait / 2) await rest(base);
    }
  };

export const longPoll: Transport = changes('long-poll');
export const poll: Transport = changes('poll');
