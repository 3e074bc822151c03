import { Bell, Inbox, useConnection, useMilepost, useUnreadCount } from 'milepost/react';
import { useEffect, useState, useSyncExternalStore } from 'react';
import { createPortal } from 'react-dom';
import { NewRecording } from './new-recording.tsx';
import { Recordings } from './recordings.tsx';
import { Result } from './result.tsx';
import { signOut } from './session.ts';
import { coachOf } from './words.ts';

const SAID = {
  idle: 'Not connected',
  connecting: 'Connecting…',
  connected: 'Live',
  reconnecting: 'Reconnecting…',
  polling: 'Live, by polling',
  error: 'No connection',
  closed: 'Not connected',
} as const;

function Connection() {
  const connection = useConnection();
  const { subscribe, getSnapshot } = useMilepost().notifications;
  const loaded = useSyncExternalStore(subscribe, () => getSnapshot().status === 'ready');
  // Live is what has been read once, not what has just been dialled.
  const status = connection.status === 'connected' && !loaded ? 'connecting' : connection.status;
  return (
    <span className="live" data-status={status}>
      {SAID[status]}
    </span>
  );
}

function Account({ coach }: { readonly coach: string }) {
  const client = useMilepost();
  const leave = () => {
    client.close({ forget: true });
    void signOut();
  };
  return (
    <div className="account-bar">
      <Connection />
      <span className="who">{coachOf(coach).name}</span>
      <Bell />
      <button
        className="link"
        type="button"
        onClick={leave}
        title="Here, in other tabs and on other devices"
      >
        Sign out
      </button>
    </div>
  );
}

const addressOf = (recording: string | null): URL => {
  const address = new URL(location.href);
  if (recording) address.searchParams.set('recording', recording);
  else address.searchParams.delete('recording');
  return address;
};

const inAddress = (): string | null => new URLSearchParams(location.search).get('recording');

/** Which recording the address names. A link to one, wherever it stands, opens it here without loading the page anew. */
function useOpened(): [string | null, (recording: string | null) => void] {
  const [opened, setOpened] = useState(inAddress);
  const open = (recording: string | null) => {
    if (recording !== inAddress()) history.pushState(null, '', addressOf(recording));
    setOpened(recording);
  };
  useEffect(() => {
    const back = () => setOpened(inAddress());
    const follow = (event: MouseEvent) => {
      const { metaKey, ctrlKey, shiftKey, target } = event;
      const link = target instanceof Element && target.closest<HTMLAnchorElement>('a[href]');
      if (!link || metaKey || ctrlKey || shiftKey) return;
      const { pathname, searchParams } = new URL(link.href);
      const recording = searchParams.get('recording');
      if (!recording || pathname !== location.pathname) return;
      event.preventDefault();
      history.pushState(null, '', addressOf(recording));
      back();
    };
    addEventListener('popstate', back);
    document.addEventListener('click', follow);
    return () => {
      removeEventListener('popstate', back);
      document.removeEventListener('click', follow);
    };
  }, []);
  return [opened, open];
}

export function Desk({ coach }: { readonly coach: string }) {
  const [opened, open] = useOpened();
  const [inbox, showInbox] = useState(false);
  const unread = useUnreadCount();
  useEffect(() => {
    if (opened) showInbox(false);
  }, [opened]);
  const [atFirst] = useState(opened);
  const close = () => {
    open(null);
    const row = `#title-${opened} button`;
    requestAnimationFrame(() => document.querySelector<HTMLElement>(row)?.focus());
  };
  const account = document.querySelector('#account');
  return (
    <>
      {account && createPortal(<Account coach={coach} />, account)}
      <div className="desk" data-open={opened && !inbox ? '' : undefined}>
        <div className="desk-head">
          <h1>What the session sounded like</h1>
          <nav aria-label="Views">
            <button
              className="tab"
              type="button"
              aria-current={!inbox}
              onClick={() => showInbox(false)}
            >
              Recordings
            </button>
            <button
              className="tab"
              type="button"
              aria-current={inbox}
              onClick={() => showInbox(true)}
            >
              Inbox{unread > 0 && <span className="tab-count">{unread}</span>}
              {unread > 0 && <span className="visually-hidden"> unread</span>}
            </button>
          </nav>
        </div>
        {inbox ? (
          <div className="inbox-page">
            <Inbox />
          </div>
        ) : (
          <>
            <div className="desk-side">
              <NewRecording onSubmitted={open} />
              <Recordings coach={coach} opened={opened} open={open} />
            </div>
            {opened ? (
              <Result
                key={opened}
                id={opened}
                coach={coach}
                fresh={opened !== atFirst}
                close={close}
              />
            ) : (
              <p className="empty desk-empty">
                Choose a recording, or analyse one: length, loudness, who spoke and for how long.
              </p>
            )}
          </>
        )}
      </div>
    </>
  );
}
