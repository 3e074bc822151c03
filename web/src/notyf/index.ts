import { deck } from '../ui/deck.ts';
import { el, home, icon, on, setAttribute } from '../ui/dom.ts';
import { type Labels, labelsOf } from '../ui/labels.ts';
import type { ToastHost, ToastRenderer, Toasts } from '../ui/renderer.ts';
import { toastBody } from '../ui/toast-body.ts';

export type { Labels } from '../ui/labels.ts';
export type { ToastRenderer } from '../ui/renderer.ts';

/** As much of Notyf as is used here; `T` is what it calls one notification. */
export interface NotyfLike<T> {
  open(options: NotyfOptions): T;
  dismiss(notification: T): void;
}

export interface NotyfOptions {
  readonly duration: number;
  readonly dismissible: boolean;
  readonly ripple: boolean;
  readonly icon: false;
  readonly message: string;
  readonly className: string;
  readonly background: string;
}

/**
 * It never sees a text of ours, which it would read as HTML; it keeps no time, since it could not be stopped; and what
 * it would say aloud the announcer says.
 */
const OPTIONS: NotyfOptions = {
  duration: 0,
  dismissible: true,
  ripple: false,
  icon: false,
  message: '',
  className: 'milepost-notyf',
  background: 'var(--milepost-notyf, #2b2f38)',
};

/**
 * Toasts by Notyf 3: `attachToasts(client, {renderer: notyfToasts(Notyf)})`. With its own style sheet, and
 * with `milepost/style.css`, which adds what Notyf lacks: names, keys, a visible focus, contrast, less motion.
 */
export function notyfToasts<T>(
  Notyf: new () => NotyfLike<T>,
  options: { readonly labels?: Partial<Labels> } = {},
): ToastRenderer {
  const labels = labelsOf(options.labels);
  return (host) => {
    // Not before the first toast: Notyf needs a body to put its elements into.
    let drawn: Toasts | undefined;
    return {
      show(model) {
        drawn ??= open(Notyf, host, labels);
        drawn.show(model);
      },
      dismiss: (id) => drawn?.dismiss(id),
      destroy: () => drawn?.destroy(),
    };
  };
}

function open<T>(Notyf: new () => NotyfLike<T>, host: ToastHost, labels: Labels): Toasts {
  const notyf = new Notyf();
  const newest = (name: string) => [...document.querySelectorAll<HTMLElement>(name)].at(-1);
  const region = newest('.notyf') as HTMLElement;
  const announcer = newest('.notyf-announcer');
  setAttribute(region, 'role', 'region');
  setAttribute(region, 'aria-label', labels.region);
  region.classList.add('milepost-notyf-region');
  announcer?.remove();

  return deck(host, labels, region, (_, closed) => {
    if (region.parentElement !== home()) home().append(region);
    const notification = notyf.open(OPTIONS);
    const root = region.lastElementChild as HTMLElement;
    const close = root.querySelector('.notyf__dismiss-btn') as HTMLElement;
    const message = root.querySelector('.notyf__message') as HTMLElement;
    const mark = el('span', 'mark');
    const body = toastBody();
    message.before(mark);
    message.append(body.root);
    setAttribute(root, 'role', 'group');
    setAttribute(root, 'aria-labelledby', body.title.id);
    // A button that does not say so would send the form around it.
    setAttribute(close, 'type', 'button');
    close.classList.add('milepost-close');
    close.append(icon('close'));
    const onClose = (event: Event) => {
      // Notyf would begin to remove it before the focus has gone elsewhere.
      event.stopImmediatePropagation();
      closed();
    };
    on(close, 'click', onClose, true);
    return {
      root,
      close,
      draw(model) {
        const { tone } = model;
        if (root.dataset.tone !== tone) mark.replaceChildren(tone === 'progress' ? '' : icon(tone));
        body.draw(model);
      },
      remove() {
        notyf.dismiss(notification);
        // It waits for the end of its animation, which does not come where there is none.
        for (const type of ['animationend', 'webkitAnimationEnd'])
          root.dispatchEvent(new Event(type));
        if (!region.firstChild) region.remove();
      },
    };
  });
}
