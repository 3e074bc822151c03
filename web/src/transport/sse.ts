import { asFailure, Failure } from '../core/errors.ts';
import { fields, readDelivery } from '../core/wire.ts';
import { createParser } from './parser.ts';
import type { Outcome, Run } from './transport.ts';

const MAX_RETRY_MS = 30_000;
/** A stream that ends sooner, without an event, was cut off by something on the way. */
const CUT_OFF_MS = 1000;

/** One stream. It is read with fetch: EventSource hides statuses and comments and sends no headers. */
export async function sse(run: Run): Promise<Outcome> {
  const { env, timing, config, abort } = run;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(new Failure('timeout')), ms);
  };

  let lastByte = 0;
  let events = 0;
  let goodbye: Outcome | null = null;
  const silent = () => abort.abort(new Failure('silent'));
  const watch = () => {
    const silence = timing.silence ?? 2 * config.heartbeatMs + 5000;
    const left = lastByte + silence - env.now();
    if (left > 0) timer = setTimeout(watch, left);
    else silent();
  };
  // A suspended device wakes with a dead socket and no error; do not wait for the silence to pass.
  run.onPoke(() => {
    const dead = lastByte > 0 && env.now() - lastByte > 1.5 * config.heartbeatMs;
    if (dead) silent();
    return dead;
  });

  const parse = createParser((type, data, id) => {
    events += 1;
    let body: ReturnType<typeof fields>;
    try {
      body = fields(JSON.parse(data));
    } catch {
      return;
    }
    if (type === 'connected') {
      config.heartbeatMs = Number(body.heartbeat_seconds) * 1000 || config.heartbeatMs;
    } else if (type === 'stream_end') {
      const retryMs = Math.min(Number(body.retry_ms) || 0, MAX_RETRY_MS);
      goodbye = { kind: 'ended', reason: String(body.reason), retryMs };
    } else {
      const delivery = readDelivery(type, body, id);
      if (delivery) run.deliver(delivery);
    }
  });

  try {
    limit(timing.connect);
    const { status, headers, body } = await run.http.request('stream', {
      query: { dialect: 'milepost', after: run.cursor(), reason: run.reason },
      accept: 'text/event-stream, application/problem+json',
      signal: abort.signal,
      reason: run.auth,
    });
    if (status === 204 || !body)
      return { kind: 'disabled', error: new Failure('http', { status }) };
    if (!/^text\/event-stream\b/i.test(headers.get('content-type') ?? ''))
      return failed(new Failure('protocol'), true);
    limit(timing.firstByte);
    const openedAt = env.now();
    const reader = body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      abort.signal.throwIfAborted();
      const first = !lastByte;
      lastByte = env.now();
      run.alive();
      parse(decoder.decode(value, { stream: true }));
      if (goodbye) return goodbye;
      if (first) {
        clearTimeout(timer);
        watch();
      }
    }
    const cut = !events && env.now() - openedAt < CUT_OFF_MS;
    return failed(new Failure('network'), cut);
  } catch (thrown) {
    const error = asFailure(abort.signal.aborted ? abort.signal.reason : thrown);
    if (error.problem === 'streaming_disabled') return { kind: 'disabled', error };
    return failed(error, error.code === 'timeout');
  } finally {
    clearTimeout(timer);
    // Releases the socket where we leave before the server does.
    abort.abort();
  }
}

const failed = (error: Failure, strike: boolean): Outcome => ({ kind: 'failed', error, strike });
