import { renderToString } from 'react-dom/server';
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
