import type { Unsubscribe } from '../core/types.ts';
import { announce, holdAnnouncer } from '../ui/announcer.ts';
import { all, el, setText } from '../ui/dom.ts';
import { fill } from '../ui/labels.ts';
import type { Outbox } from './outbox.ts';

const LABELS = {
  /** `{n}` is replaced. */
  waiting: 'Not sent yet: {n}',
  signedOut: 'Not sent yet: {n}. Sign in to send.',
} as const;

export interface OutboxNoticeOptions {
  readonly labels?: Partial<Record<keyof typeof LABELS, string>>;
}

/** Says in `target` how many requests wait after an attempt has failed; nothing while all is well. */
export function attachOutbox(
  outbox: Outbox,
  target: Element,
  options: OutboxNoticeOptions = {},
): Unsubscribe {
  const labels = { ...LABELS, ...options.labels };
  // Without a text it is not to be seen.
  const notice = el('p', 'connection');
  target.append(notice);
  function draw(): void {
    const { waiting, status, failures } = outbox.getSnapshot();
    const label = status === 'signed-out' ? labels.signedOut : failures ? labels.waiting : '';
    const text = waiting.length ? fill(label, { n: waiting.length }) : '';
    if (text && !notice.textContent) announce('outbox', text);
    setText(notice, text);
  }
  const release = holdAnnouncer();
  const unsubscribe = outbox.subscribe(draw);
  draw();
  return all(unsubscribe, release, () => notice.remove());
}
