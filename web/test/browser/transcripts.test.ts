import { expect, inject, onTestFinished, test } from 'vitest';
import { createClient } from '../../src/index.ts';
import { until } from '../fixture/room.ts';

/** A transcript with something in the place of what is different each time; cursors and times rise. */
function filled(name: string): Uint8Array {
  let count = 0;
  const holes: Record<string, () => string> = {
    cursor: () => `e1.${++count}.seal`,
    time: () => new Date(Date.UTC(2027, 0, 1, 0, 0, ++count)).toISOString(),
    number: () => '1000',
  };
  const text = inject('transcripts')[name] ?? expect.unreachable();
  return new TextEncoder().encode(text.replace(/<(\w+)>/g, (_, hole) => holes[hole]?.() ?? hole));
}

/** A client whose one stream is this transcript, in pieces of so many bytes; all else is away. */
function reader(name: string, piece: number) {
  const bytes = filled(name);
  let streams = 0;
  const answer = async (url: URL | RequestInfo) => {
    if (!String(url).includes('/stream') || streams++) return new Response('{}', { status: 503 });
    const body = new ReadableStream({
      start(stream) {
        for (let at = 0; at < bytes.length; at += piece)
          stream.enqueue(bytes.slice(at, at + piece));
        stream.close();
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  };
  const client = createClient({ storage: 'memory', env: { fetch: answer as typeof fetch } });
  onTestFinished(() => client.close());
  client.start();
  return client;
}

test.each([1, 7, 100_000])(
  'a job, in pieces of %i bytes, ends as the transcript does',
  async (piece) => {
    const client = reader('milepost-job.sse', piece);
    await until(() => client.job('case-123').getSnapshot().state === 'failed');
    expect(client.job('case-123').getSnapshot()).toMatchObject({
      ...{ title: 'Discovery set', watchers: ['w1'], current: 5, total: 32, percent: 15.6, rev: 3 },
      ...{ counters: { enriched: 2 }, item: { name: 'SROGS' }, message: 'Generating SROGS 1/3' },
      error: { code: 'TEMPLATE_ERROR', message: 'no such field', details: { line: 3 } },
    });
  },
);

test.each([1, 7, 100_000])(
  'an inbox, in pieces of %i bytes, ends as the transcript does',
  async (piece) => {
    const client = reader('milepost-user.sse', piece);
    const { notifications } = client;
    await until(() => notifications.getSnapshot().items.length === 2);
    await until(() => notifications.getSnapshot().unreadCount === 0);
    expect(notifications.getSnapshot().items).toMatchObject([
      { id: 'n2', text: 'Maintenance at noon', status: 'read', user: null },
      { id: 'n1', text: 'Your audio is ready', status: 'read', href: '/s/9', rev: 3 },
    ]);
  },
);
