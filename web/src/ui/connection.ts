import type { Client, Unsubscribe } from '../core/types.ts';
import { useAnnouncer } from './announcer.ts';
import { el, setAttribute, setText } from './dom.ts';
import { type Labels, labelsOf } from './labels.ts';

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
  const announcer = useAnnouncer();
  const notice = el('p', 'connection');
  notice.hidden = true;
  target.append(notice);

  function draw(): void {
    const { status, notice: long, reason } = client.connection.getSnapshot();
    const [state, text] =
      reason === 'signed-out'
        ? ['signed-out', labels.signedOut]
        : long
          ? ['reconnecting', labels.reconnecting]
          : status === 'polling'
            ? ['polling', labels.polling]
            : ['', ''];
    // A short gap between two polls is no news.
    if (!text && status === 'reconnecting' && notice.dataset.state === 'polling') return;
    if (text && notice.textContent !== text) announcer.announce('connection', text);
    setText(notice, text);
    setAttribute(notice, 'data-state', state || null);
    notice.hidden = !text;
  }

  const unsubscribe = client.connection.subscribe(draw);
  draw();
  return () => {
    unsubscribe();
    notice.remove();
    announcer.release();
  };
}
