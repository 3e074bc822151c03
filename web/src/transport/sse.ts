import { DISABLED, Failure } from '../core/errors.ts';
import { parseJson, readDelivery } from '../core/wire.ts';
import { createParser } from './parser.ts';
import type { Goodbye, Run } from './transport.ts';

/** A stream that ends sooner, without an event, was cut off by something on the way. */
const CUT_OFF_MS = 1000;

/** One stream. It is read with fetch: EventSource hides statuses and comments and sends no headers. */
export async function sse(run: Run): Promise<Goodbye> {
  const { timing, config, abort } = run;
  const { signal } = abort;
  let events = 0;
  let goodbye: Goodbye | null = null;

  // A suspended device wakes with a dead socket and no error; do not wait for the silence to pass.
  run.poke = () => {
    if (run.lastByte && Date.now() - run.lastByte > 1500 * config.heartbeat_seconds)
      abort.abort(new Failure('silent'));
  };

  const parse = createParser((type, data, id) => {
    events += 1;
    const body = parseJson(() => data);
    if (type === 'connected') Object.assign(config, body);
    else if (type === 'stream_end')
      goodbye = { reason: String(body.reason), retryMs: Number(body.retry_ms) || 0 };
    else {
      const delivery = readDelivery(type, body, id);
      if (delivery) run.deliver(delivery);
    }
  });

  run.limit(timing.connect);
  const { status, headers, body } = await run.http.request('stream', {
    query: { dialect: 'milepost', after: run.cursor(), reason: run.reason },
    accept: 'text/event-stream, application/problem+json',
    signal,
    reason: run.auth,
  });
  if (status === 204 || !body) throw new Failure('http', { status, problem: DISABLED });
  if (!/^text\/event-stream\b/i.test(headers.get('content-type') ?? ''))
    throw new Failure('protocol');
  run.limit(timing.firstByte);
  const openedAt = Date.now();
  const reader = body.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    if (done)
      throw new Failure(!events && Date.now() - openedAt < CUT_OFF_MS ? 'protocol' : 'network');
    run.alive();
    parse(decoder.decode(value, { stream: true }));
    if (goodbye) return goodbye;
    run.limit(timing.silence ?? 2000 * config.heartbeat_seconds + 5000, 'silent');
  }
}
