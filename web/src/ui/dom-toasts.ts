import { deck } from './deck.ts';
import { el, home, icon } from './dom.ts';
import { type Labels, labelsOf } from './labels.ts';
import type { ToastRenderer } from './renderer.ts';
import { toastBody } from './toast-body.ts';

/** The toasts of this package: a labelled list at the edge of the page, usable by keyboard. */
export function domToasts(options: { readonly labels?: Partial<Labels> } = {}): ToastRenderer {
  const labels = labelsOf(options.labels);
  return (host) => {
    const list = el('ul', 'toast-list');
    const region = el('section', 'toasts', { 'aria-label': labels.region }, list);
    return deck(host, labels, region, (_, onclick) => {
      const mark = el('span', 'mark');
      const body = toastBody();
      const close = el('button', 'close', { onclick }, icon('close'));
      const root = el('li', 'toast', {}, mark, body.root, close);
      if (!region.isConnected) home().append(region);
      list.append(root);
      return {
        root,
        close,
        draw(model) {
          const { tone } = model;
          // While it goes on, the style sheet turns a ring there.
          if (root.dataset.tone !== tone)
            mark.replaceChildren(tone === 'progress' ? '' : icon(tone));
          body.draw(model);
        },
        remove() {
          root.remove();
          if (!list.firstChild) region.remove();
        },
      };
    });
  };
}
