import { expect, test } from 'vitest';
import { userEvent } from 'vitest/browser';
import { type Enrichment, useEnrichmentSSE } from '../../src/legacy/index.ts';
import { Bell, ConnectionNotice, Inbox, JobProgress, Toaster } from '../../src/react/index.ts';
import { violations } from '../fixture/axe.ts';
import { aWhile, show, strict } from '../fixture/react.tsx';
import { room, until } from '../fixture/room.ts';
import { styled } from '../fixture/style.ts';

strict();

const all = (selector: string) => [...document.querySelectorAll<HTMLElement>(selector)];
const one = (selector: string) => document.querySelector<HTMLElement>(selector);
const text = (selector: string) => one(selector)?.textContent;

test('bell, inbox, toaster and notice are there once in StrictMode, work, and leave nothing behind', async () => {
  styled();
  const { url, ...server } = room();
  const shown = show(
    { baseUrl: url },
    <>
      <Bell labels={{ bell: 'News' }} />
      <Inbox />
      <Toaster successMs={Number.POSITIVE_INFINITY} />
      <ConnectionNotice />
    </>,
  );
  await until(async () => (await server.do()).streams === 1);
  await server.do({ notify: { id: 'n', title: 'Ready', level: 'success' } });
  const toast = await until(() => one('.milepost-toast'));
  expect(toast.textContent).toContain('Ready');
  await until(() => text('.milepost-badge') === '1');
  for (const name of ['bell', 'toasts', 'connection'])
    expect(all(`.milepost-${name}`), name).toHaveLength(1);
  await userEvent.click(one('.milepost-bell') as HTMLElement);
  await until(() => all('.milepost-item').length === 2);
  await userEvent.click(one('.milepost-item .milepost-row') as HTMLElement);
  await until(() => text('.milepost-badge') === '');
  shown.leave();
  await until(() => !all('[class^="milepost-"]').length);
  await until(async () => (await server.do()).streams === 0);
});

test('<JobProgress>: waiting, counting, done with its link; its elements are the ones that go on', async () => {
  styled();
  const { url, ...server } = room();
  show({ baseUrl: url }, <JobProgress jobId="a" labels={{ openResult: 'Download' }} />);
  const bar = (await until(() => one('progress'))) as HTMLProgressElement;
  expect(bar.hasAttribute('value')).toBe(false);
  await server.do({
    put: { id: 'a', title: 'Set', state: 'running', current: 8, total: 32, message: 'Writing' },
  });
  await until(() => bar.value === 8);
  expect(bar.max).toBe(32);
  expect(bar.getAttribute('aria-label')).toBe('Set');
  expect(text('.milepost-progress')).toMatch(/Set.*25 %.*Writing.*8 of 32/);
  expect(await violations()).toEqual([]);
  await server.do({ put: { id: 'a', state: 'completed', output_url: '/out.zip' } });
  const link = await until(() => one('.milepost-progress a'));
  expect(link.getAttribute('href')).toBe('/out.zip');
  expect(link.textContent).toBe('Download');
  expect(one('.milepost-progress')?.dataset.tone).toBe('success');
  expect(one('progress')).toBeNull();
  expect(await violations()).toEqual([]);
});

test.each([
  [{ state: 'failed', error: { code: 'TEMPLATE_ERROR', message: 'no such field' } }, 'error'],
  [{ state: 'completed', output_url: 'javascript:alert(1)', message: '<b>bold</b>' }, 'success'],
])('<JobProgress>: %j', async (end, tone) => {
  styled();
  const { url, ...server } = room();
  await server.do({ put: { id: 'a', title: '<img src=x>', ...end } });
  show({ baseUrl: url }, <JobProgress jobId="a" />);
  await until(() => one('.milepost-progress')?.dataset.tone === tone);
  const said = 'error' in end ? Object.values(end.error) : [end.message];
  for (const part of ['<img src=x>', ...said]) expect(text('.milepost-progress')).toContain(part);
  expect(all('.milepost-progress :is(a, b, img, progress)')).toEqual([]);
});

test('<JobProgress>: a job that is not there says so', async () => {
  const { url, ...server } = room();
  await server.do({ put: { id: 'a', title: 'Set', state: 'running' } });
  show({ baseUrl: url }, <JobProgress jobId="a" />);
  await until(() => text('.milepost-progress')?.includes('Set'));
  expect(one('progress')).not.toBeNull();
  await server.do({ gone: { type: 'job', id: 'a' } });
  await until(() => one('.milepost-progress')?.dataset.tone === 'error');
  expect(one('progress')).toBeNull();
  expect(text('.milepost-text')).not.toBe('');
});

const enriched: Enrichment[] = [];
const told: (readonly [string, unknown])[] = [];

function Banner({ bomId }: { bomId: string | null }) {
  enriched.push(
    useEnrichmentSSE(bomId, {
      onProgress: ({ processed_items }) => told.push(['progress', processed_items]),
      onComplete: ({ enriched_items }) => told.push(['complete', enriched_items]),
      onFailed: ({ bom_id }) => told.push(['failed', bom_id]),
      onError: ({ code }) => told.push(['error', code]),
    }),
  );
  return null;
}

test('E: useEnrichmentSSE is the job in E’s words, and connects only once there is a run', async () => {
  const { url, ...server } = room();
  const now = () => enriched.at(-1);
  const shown = show({ baseUrl: url }, <Banner bomId={null} />);
  await aWhile();
  expect((await server.do()).seen).toEqual([]);
  expect(now()).toMatchObject({ progress: null, connectionStatus: 'idle' });
  await server.do({
    put: {
      ...{ id: 'bom-7', state: 'running', current: 6, total: 8, eta_seconds: 12 },
      counters: { enriched: 5, error: 1 },
      item: { name: 'LM358', status: 'processing', message: 'Looking up' },
    },
  });
  shown.show(<Banner bomId="bom-7" />);
  await until(() => now()?.progress);
  expect(now()?.progress).toEqual({
    ...{ bom_id: 'bom-7', total_items: 8, processed_items: 6, enriched_items: 5, error_items: 1 },
    ...{ percent_complete: 75, estimated_time_remaining: 12 },
    current_item: { mpn: 'LM358', status: 'processing', message: 'Looking up' },
  });
  expect(now()).toMatchObject({ isComplete: false, isFailed: false, error: null });
  await server.do({
    put: { id: 'bom-7', state: 'completed', current: 8, item: null, eta_seconds: null },
  });
  await until(() => now()?.isComplete);
  expect(now()?.progress).toEqual({
    ...{ bom_id: 'bom-7', total_items: 8, processed_items: 8, enriched_items: 5, error_items: 1 },
    percent_complete: 100,
  });
  expect(now()?.connectionStatus).toBe('closed');
  await server.do({
    put: { id: 'bom-7', state: 'failed', attempt: 2, error: { code: 'E', message: 'broken' } },
  });
  await until(() => now()?.error === 'broken');
  await until(() => told.length === 4);
  expect(told).toEqual([
    ['progress', 6],
    ['complete', 5],
    ['failed', 'bom-7'],
    ['error', 'E'],
  ]);
});
