import type { ConnectionStatus } from 'milepost/react';

const WORDS: Readonly<Record<ConnectionStatus, string>> = {
  idle: '',
  connecting: 'Connecting…',
  connected: 'Live',
  reconnecting: 'Reconnecting…',
  polling: 'Polling',
  error: 'No connection',
  closed: '',
};

/** How the news come. */
export function Live({ status }: { readonly status: ConnectionStatus }) {
  const words = WORDS[status];
  return words ? (
    <span className="live" data-status={status}>
      {words}
    </span>
  ) : null;
}
