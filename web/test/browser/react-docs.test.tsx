import { App, ImportDialog, News } from 'docs:react.tsx';
import { createRoot } from 'react-dom/client';
import { expect, onTestFinished, test } from 'vitest';
import { show, strict } from '../fixture/react.tsx';
import { room, until } from '../fixture/room.ts';

strict();

const one = <E extends HTMLElement>(selector: string) => document.querySelector<E>(selector);

test('docs/react.md: the application shows a job, and its news, as they happen', async () => {
  const { url, ...server } = room();
  Object.assign(globalThis, { server: url });
  sessionStorage.setItem('token', 'from-the-page');
  const target = document.body.appendChild(document.createElement('div'));
  const root = createRoot(target);
  onTestFinished(() => {
    root.unmount();
    target.remove();
    sessionStorage.clear();
    localStorage.clear();
  });
  root.render(<App />);
  await server.do({
    put: { id: 'import-7', state: 'running', current: 1, total: 4, message: 'Reading' },
  });
  await until(() => one<HTMLProgressElement>('progress[aria-label=Import]')?.value === 25);
  expect(target.textContent).toContain('Reading');
  await server.do({ notify: { id: 'n', title: 'Fresh', level: 'success' } });
  await until(() => one('.milepost-toasts')?.textContent?.includes('Fresh'));
  const read = await until(() => one('[aria-label=News] li button'));
  expect(one('[aria-label=News]')?.textContent).toContain('1 unread');
  read.click();
  await until(() => one('[aria-label=News]')?.textContent?.includes('0 unread'));
  await server.do({ put: { id: 'import-7', state: 'completed', output_url: '/out' } });
  await until(() => one('a[href="/out"]'));
  const { seen } = await server.do();
  expect(new Set(seen.map(({ authorization }) => authorization))).toEqual(
    new Set(['Bearer from-the-page']),
  );
});

test('docs/react.md: what failed says why, and there is nothing to read', async () => {
  const { url, ...server } = room();
  await server.do({ put: { id: 'a', state: 'failed', error: { code: 'E', message: 'line 7' } } });
  const { target } = show(
    { baseUrl: url },
    <>
      <ImportDialog jobId="a" />
      <News />
    </>,
  );
  await until(() => target.querySelector('[role=alert]')?.textContent === 'line 7');
  expect(target.textContent).toContain('0 unread');
});
