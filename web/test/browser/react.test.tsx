import { StrictMode, version } from 'react';
import { createRoot } from 'react-dom/client';
import { expect, onTestFinished, test } from 'vitest';
import { MilepostProvider, useJobProgress } from '../../src/react/index.ts';
import { room, until } from '../fixture/room.ts';

function Percent() {
  return <p>{useJobProgress('a').progressPercent}</p>;
}

test('a job moves, in StrictMode, over one connection', async ({ task }) => {
  expect(task.file.projectName).toContain(`react ${version.split('.')[0]}`);
  const { url, ...server } = room();
  await server.do({ put: { id: 'a', state: 'running', current: 1, total: 4 } });
  const target = document.body.appendChild(document.createElement('div'));
  const root = createRoot(target);
  onTestFinished(() => root.unmount());
  root.render(
    <StrictMode>
      <MilepostProvider baseUrl={url} storage="memory">
        <Percent />
      </MilepostProvider>
    </StrictMode>,
  );
  await until(() => target.textContent === '25');
  expect((await server.do()).streams).toBe(1);
});
