import { createParser } from 'eventsource-parser';
import { asFailure, Failure } from '../core/errors.ts';
import { readDelivery } from '../core/wire.ts';
import type { Outcome, Run } from './transport.ts';

/** One event of ours is far smaller; a stream that never ends its event must not fill the memory. */
const MAX_EVENT_CHARS = 1 << 20;

/** One stream. It is read with fetch: EventSource hides statuses and comments and sends no headers. */
export async function sse(run: Run): Promise<Outcome> {
  const { env, timing, config } = run;
  const abort = new AbortController();
  const stop = () => abort.abort(run.signal.reason);
  run.signal.addEventListener('abort', stop, { once: true });
  if (run.signal.aborted) stop();

  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = (ms: number, error: () => Failure) => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(error()), ms);
  };

  let lastByte = 0;
  let goodbye: Outcome | null = null;
  let events = 0;
  const silence = () => timing.silence ?? 2 * config.heartbeatMs + 5000;
  const watch = (allowed: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (env.now() - lastByte < allowed) watch(allowed - (env.now() - lastByte));
      else abort.abort(new Failure('silent', 'The stream went silent.'));
    }, allowed);
  };
  // A suspended device wakes with a dead socket and no error; do not wait for the silence to pass.
  run.onPoke(() => {
    const dead = lastByte > 0 && env.now() - lastByte > 1.5 * config.heartbeatMs;
    if (dead) abort.abort(new Failure('silent', 'The stream was silent for too long.'));
    return dead;
  });

  const parser = createParser({
    maxBufferSize: MAX_EVENT_CHARS,
    onEvent({ event = 'message', data, id }) {
      events += 1;
      let body: Record<string, unknown>;
      try {
        body = JSON.parse(data);
      } catch {
        return;
      }
      if (event === 'connected') {
        if (Number(body.heartbeat_seconds) > 0)
          config.heartbeatMs = Number(body.heartbeat_seconds) * 1000;
      } else if (event === 'stream_end') {
        const retryMs = Math.min(Math.max(Number(body.retry_ms) || 0, 0), 30_000);
        goodbye = { kind: 'ended', reason: String(body.reason), retryMs };
      } else {
        const delivery = readDelivery(event, body, id ?? null);
        if (delivery) run.deliver(delivery);
      }
    },
    onError(error) {
      // An unknown field is only ignored; an endless event ends the stream.
      if (error.type === 'max-buffer-size-exceeded')
        abort.abort(new Failure('protocol', 'An event was too long.'));
    },
  });

  const struck = (error: Failure): Outcome => ({ kind: 'failed', error, strike: true });
  let openedAt = 0;
  try {
    limit(timing.connect, () => new Failure('timeout', 'No answer in time.'));
    const response = await run.http.request('stream', {
      query: { dialect: 'milepost', after: run.cursor(), reason: run.reason },
      accept: 'text/event-stream, application/problem+json',
      signal: abort.signal,
      reason: run.auth,
    });
    const type = response.headers.get('content-type') ?? '';
    if (response.status === 204 || !response.body)
      return { kind: 'disabled', error: new Failure('http', 'No stream here.', { status: 204 }) };
    if (!/^text\/event-stream\b/i.test(type)) {
      abort.abort();
      return struck(new Failure('protocol', 'The answer was not an event stream.'));
    }
    openedAt = env.now();
    limit(timing.firstByte, () => new Failure('timeout', 'The stream stayed mute.'));
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (abort.signal.aborted) throw abort.signal.reason;
      const first = lastByte === 0;
      lastByte = env.now();
      if (first) run.opened();
      run.alive();
      parser.feed(decoder.decode(value, { stream: true }));
      if (first) watch(silence());
      if (goodbye) return goodbye;
    }
    const error = new Failure('network', 'The stream ended.');
    return { kind: 'failed', error, strike: events === 0 && env.now() - openedAt < 1000 };
  } catch (thrown) {
    const error = asFailure(abort.signal.aborted ? abort.signal.reason : thrown);
    if (error.problem === 'streaming_disabled') return { kind: 'disabled', error };
    return { kind: 'failed', error, strike: error.code === 'timeout' };
  } finally {
    clearTimeout(timer);
    run.signal.removeEventListener('abort', stop);
    // Releases the socket where we leave before the server does.
    abort.abort(new Failure('network', 'Left.'));
  }
}
