import type { Client, CloseReason, Unsubscribe } from '../core/types.ts';
import { announce, holdAnnouncer } from './announcer.ts';
import { all, el, setAttribute, setText } from './dom.ts';
import { type LabelName, type Labels, labelsOf } from './labels.ts';

const ENDED: Readonly<Record<CloseReason, LabelName | false>> = {
  'signed-out': 'signedOut',
  forbidden: 'refused',
  rejected: 'refused',
  // The page itself wanted that.
  closed: false,
};

export interface ConnectionOptions {
  readonly labels?: Partial<Labels>;
}

/** Says in `target` when there is no connection for ten seconds, or none any more, and when updates come by polling. */
export function attachConnection(
  client: Client,
  target: Element,
  options: ConnectionOptions = {},
): Unsubscribe {
  const labels = labelsOf(options.labels);
  // Without a text it is not to be seen.
  const notice = el('p', 'connection');
  target.append(notice);

  function draw(): void {
    const { status, notice: long, reason, paused } = client.connection.getSnapshot();
    const state = reason ? ENDED[reason] : long ? 'reconnecting' : status === 'polling' && status;
    // A short gap between two polls is no news, nor that nobody looked for a while.
    const gap = status.endsWith('connecting') || paused.includes('hidden');
    if (!state && gap && notice.dataset.state === 'polling') return;
    const text = state ? labels[state] : '';
    if (text && notice.textContent !== text) announce('connection', text);
    setText(notice, text);
    setAttribute(notice, 'data-state', state || null);
  }

  const end = all(holdAnnouncer(), client.connection.subscribe(draw), () => notice.remove());
  draw();
  return end;
}
