import type { Client, Unsubscribe } from '../core/types.ts';
import { announce, useAnnouncer } from './announcer.ts';
import { all, el, setAttribute, setText } from './dom.ts';
import { type LabelName, type Labels, labelsOf } from './labels.ts';

export interface ConnectionOptions {
  readonly labels?: Partial<Labels>;
}

/** Says in `target` when there has been no connection for ten seconds, and when updates come by polling. */
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
    const state: LabelName | false =
      reason === 'signed-out'
        ? 'signedOut'
        : long
          ? 'reconnecting'
          : status === 'polling' && status;
    // A short gap between two polls is no news, nor that nobody looked for a while.
    const gap = status.endsWith('connecting') || paused.includes('hidden');
    if (!state && gap && notice.dataset.state === 'polling') return;
    const text = state ? labels[state] : '';
    if (text && notice.textContent !== text) announce('connection', text);
    setText(notice, text);
    setAttribute(notice, 'data-state', state || null);
  }

  const release = useAnnouncer();
  const unsubscribe = client.connection.subscribe(draw);
  draw();
  return all(unsubscribe, release, () => notice.remove());
}
