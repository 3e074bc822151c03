import { fileURLToPath } from 'node:url';
import { renderToString } from 'react-dom/server';
import { build, type Rolldown } from 'vite';
import { expect, test } from 'vitest';
import {
  Bell,
  ConnectionNotice,
  Inbox,
  JobProgress,
  MilepostProvider,
  Toaster,
  useConnection,
  useJobProgress,
  useJobs,
  useNotifications,
  useUnreadCount,
} from '../../src/react/index.ts';
import { shareTabs } from '../../src/share/index.ts';

function All() {
  const { isProcessing, connectionStatus } = useJobProgress('a');
  const said = [isProcessing, connectionStatus, useJobs().length, useUnreadCount()];
  return (
    <main>
      {[...said, useNotifications().status, useConnection().status].join()}
      <JobProgress jobId="a" />
      <JobProgress jobId={null} />
      <Bell />
      <Inbox />
      <Toaster />
      <ConnectionNotice />
    </main>
  );
}

test('where there is no window everything renders as it is before anything is known', () => {
  expect('document' in globalThis).toBe(false);
  const html = renderToString(
    <MilepostProvider baseUrl="https://live.example" userKey="u7" share={shareTabs}>
      <All />
    </MilepostProvider>,
  );
  expect(html).toContain('true,idle,0,0,loading,idle');
  expect(html.match(/<progress/g)).toHaveLength(1);
});

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What a bundler makes of a page with this script: it drops what nobody uses, and finds no React. */
async function bundled(script: string): Promise<string> {
  const built = await build({
    root,
    configFile: false,
    logLevel: 'silent',
    plugins: [
      {
        name: 'page',
        resolveId: (id) => (id === 'virtual:page' ? id : null),
        load: (id) => (id === 'virtual:page' ? script : null),
      },
    ],
    build: {
      write: false,
      minify: false,
      rolldownOptions: { input: 'virtual:page', external: ['react'] },
    },
  });
  const { output } = built as Rolldown.RolldownOutput;
  return output.map((part) => ('code' in part ? part.code : '')).join();
}

test('E: milepost/legacy needs no React, and with milepost/react its hook finds the other one', async () => {
  const legacy = `import { useEnrichmentSSE } from '${root}src/legacy/index.ts'; console.log(useEnrichmentSSE);`;
  const alone = await bundled(legacy);
  expect(alone).toContain('needs milepost/react');
  expect(alone).not.toMatch(/from ["']react["']|slot\.useJobProgress = /);
  const both = `import { useMilepost } from '${root}src/react/index.ts'; ${legacy} useMilepost();`;
  expect(await bundled(both)).toMatch(/slot\.useJobProgress = /);
});
