import { encode } from 'eventsource-encoder';
import { createParser as createOther } from 'eventsource-parser';
import fc from 'fast-check';
import { expect, inject, test } from 'vitest';
import { createParser } from '../../src/transport/parser.ts';

interface Event {
  readonly type: string;
  readonly data: string;
}

/** Text as a hostile or careless server might send it: every line end, colons, NUL, other scripts. */
const line = fc.string({
  unit: fc.constantFrom(
    'a',
    ' ',
    ':',
    '\t',
    'é',
    '😀',
    '\u2028',
    '\u0085',
    '\ufeff',
    '\0',
    '"',
    '{',
  ),
  maxLength: 12,
});
const block = fc.oneof(
  line.map((value) => `data: ${value}`),
  line.map((value) => `data:${value}`),
  fc.constantFrom(
    'data',
    'data:',
    ':',
    ': beat',
    'event',
    'id:',
    'retry: 10',
    'unknown: x',
    'datax: y',
    ' data: z',
  ),
  fc.constantFrom('job', 'notification', 'message').map((name) => `event: ${name}`),
  fc.nat(99).map((id) => `id: e.${id}.t`),
  fc.constant(''),
);
const end = fc.constantFrom('\n', '\r', '\r\n');
const stream = fc.array(fc.tuple(block, end), { maxLength: 40 }).map((parts) => {
  const text = parts.map(([block, end]) => block + end).join('');
  // A CR at the very end is legally undecidable; a comment settles it.
  return `${text}\n\n: the end\n`;
});

function cut(text: string, at: readonly number[]): Uint8Array[] {
  const bytes = new TextEncoder().encode(text);
  const marks = [...new Set(at.map((n) => n % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...marks].map((from, i) => bytes.slice(from, marks[i] ?? bytes.length));
}

function parse(pieces: readonly Uint8Array[]): Event[] {
  const events: Event[] = [];
  const feed = createParser((type, data) => events.push({ type, data }));
  const decoder = new TextDecoder();
  for (const piece of pieces) feed(decoder.decode(piece, { stream: true }));
  return events;
}

test('cut anywhere, a stream reads like one that came in one piece, and like another parser reads it', () => {
  fc.assert(
    fc.property(stream, fc.array(fc.nat(4000), { maxLength: 12 }), (text, at) => {
      const whole = parse(cut(text, []));
      expect(parse(cut(text, at))).toEqual(whole);
      const other: Event[] = [];
      const parser = createOther({
        onEvent: ({ event, data }) => other.push({ type: event || 'message', data }),
      });
      parser.feed(text);
      expect(whole).toEqual(other);
    }),
    { numRuns: 1500 },
  );
});

test('what an encoder writes is what comes out', () => {
  const event = fc.record({
    event: fc.constantFrom('job', 'notification'),
    data: fc.string({ unit: 'grapheme', minLength: 1 }).map((s) => s.replaceAll('\r', ' ')),
    id: fc.nat().map((n) => `e.${n}.t`),
  });
  fc.assert(
    fc.property(fc.array(event), fc.array(fc.nat(4000)), (events, at) => {
      const text = events.map((e) => encode(e)).join('');
      expect(parse(cut(text, at))).toEqual(
        events.map(({ event, data }) => ({ type: event, data })),
      );
    }),
  );
});

test("Chromium's own EventSource reads the same events with the same ids from the same bytes", async () => {
  const url = `${inject('fixture')}/oracle/replay/`;
  const samples = fc.sample(fc.tuple(stream, fc.array(fc.nat(4000), { maxLength: 6 })), 40);
  for (const [n, [text, at]] of samples.entries()) {
    const last = 'event: message\ndata: over\n\n';
    const pieces = cut(text + last, at).map((piece) => btoa(String.fromCharCode(...piece)));
    const body = JSON.stringify({ pieces });
    await fetch(url + n, { method: 'POST', body });

    const native: (Event & { id: string })[] = await new Promise((resolve) => {
      const events: (Event & { id: string })[] = [];
      const source = new EventSource(url + n);
      const note = ({ type, data, lastEventId: id }: MessageEvent) => {
        events.push({ type, data, id });
        if (data !== 'over') return;
        source.close();
        resolve(events);
      };
      for (const type of ['job', 'notification', 'message']) source.addEventListener(type, note);
    });

    const ours: (Event & { id: string | null })[] = [];
    const feed = createParser((type, data, id) => ours.push({ type, data, id }));
    const response = await fetch(url + n);
    const decoder = new TextDecoder();
    for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>)
      feed(decoder.decode(piece, { stream: true }));

    const strip = ({ type, data }: Event) => ({ type, data });
    expect(ours.map(strip)).toEqual(native.map(strip));
    for (const [i, { id }] of ours.entries()) if (id !== null) expect(id).toBe(native[i]?.id);
  }
});

test('an event without end is refused before it fills the memory', () => {
  const feed = createParser(() => {});
  const flood = () => {
    for (let i = 0; i < 2000; i++) feed(`data: ${'x'.repeat(1000)}\n`);
  };
  expect(flood).toThrow('protocol');
});
