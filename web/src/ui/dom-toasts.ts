import { all, el, followModals, home, icon, nextId, on, setAttribute, setText } from './dom.ts';
import { fill, type Labels, labelsOf } from './labels.ts';
import type { ToastModel, ToastRenderer } from './renderer.ts';

/** As long as the leaving animation in motion.css. */
const LEAVE_MS = 180;

interface Toast {
  readonly root: HTMLElement;
  readonly close: HTMLElement;
  draw(model: ToastModel): void;
}

/** The toasts of this package: a labelled list at the edge of the page, usable by keyboard. */
export function domToasts(options: { readonly labels?: Partial<Labels> } = {}): ToastRenderer {
  const labels = labelsOf(options.labels);
  return (host) => {
    const list = el('ul', 'toast-list');
    const section = el('section', 'toasts', { 'aria-label': labels.region }, list);
    const toasts = new Map<string, Toast>();
    const hasFocus = (element: Element) => element.contains(document.activeElement);
    /** Where the focus was before it came to the toasts. */
    let origin: EventTarget | null = null;

    function closeByUser(id: string): void {
      const order = [...toasts.keys()];
      const place = order.indexOf(id);
      const focused = hasFocus((toasts.get(id) as Toast).root);
      const next = toasts.get(order[place + 1] ?? order[place - 1] ?? '')?.close ?? origin;
      host.dismissed(id);
      if (focused) (next as HTMLElement | null)?.focus();
    }

    function create(id: string): Toast {
      const mark = el('span', 'mark');
      const title = el('p', 'title', { id: nextId(), dir: 'auto' });
      const text = el('p', 'text', { dir: 'auto' });
      const code = el('code', 'code');
      const note = el('p', 'note', { id: nextId() });
      const actions = el('div', 'actions');
      const bar = el('progress', 'bar', {
        'aria-labelledby': title.id,
        'aria-describedby': note.id,
      });
      const body = el('div', 'body', {}, title, text, code, note, actions);
      const close = el('button', 'close', { onclick: () => closeByUser(id) }, icon('close'));
      const root = el('li', 'toast', {}, mark, body, close);
      let acting: string | undefined;
      return {
        root,
        close,
        draw({ tone, title: name, text: said, code: error, progress, action }) {
          // While it goes on, the style sheet turns a ring there.
          if (root.dataset.tone !== tone)
            mark.replaceChildren(tone === 'progress' ? '' : icon(tone));
          setAttribute(root, 'data-tone', tone);
          setText(title, name);
          setText(text, said);
          setText(code, error ?? '');
          setText(note, progress?.note ?? '');
          setAttribute(close, 'aria-label', fill(labels.dismiss, { title: name }));
          if (progress) {
            if (!bar.parentNode) note.before(bar);
            setAttribute(bar, 'max', progress.max);
            // Without `value` it is indeterminate, for the eye and for assistive technology.
            setAttribute(bar, 'value', progress.value);
          } else bar.remove();
          const now = JSON.stringify(action);
          if (now === acting) return;
          acting = now;
          actions.replaceChildren();
          if (!action) return;
          const { label, name: spoken, href, run } = action;
          const attributes = { href, onclick: run, 'aria-label': spoken };
          actions.append(el(href ? 'a' : 'button', 'action', attributes, label));
        },
      };
    }

    on(section, 'pointerenter', () => host.hold('pointer', true));
    on(section, 'pointerleave', () => host.hold('pointer', false));
    on(section, 'focusin', ({ relatedTarget: from }: FocusEvent) => {
      if (from && !section.contains(from as Node)) origin = from;
      host.hold('focus', true);
    });
    on(section, 'focusout', ({ relatedTarget: to }: FocusEvent) => {
      if (!section.contains(to as Node | null)) host.hold('focus', false);
    });
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== 'Escape' || event.defaultPrevented || event.isComposing) return;
      // A modal dialog closes first, alone.
      if (document.querySelector(':modal')) return;
      const order = [...toasts];
      const [id] = order.find(([, { root }]) => hasFocus(root)) ?? order.at(-1) ?? [];
      if (id === undefined) return;
      event.preventDefault();
      closeByUser(id);
    };

    return {
      show(model) {
        const known = toasts.get(model.id);
        const toast = known ?? create(model.id);
        toast.draw(model);
        if (known) return;
        toasts.set(model.id, toast);
        if (!section.isConnected) home().append(section);
        list.append(toast.root);
      },
      dismiss(id) {
        const root = toasts.get(id)?.root;
        if (!root) return;
        toasts.delete(id);
        const remove = () => {
          root.remove();
          // An element that leaves under the pointer or with the focus sends no event.
          if (!section.matches(':hover')) host.hold('pointer', false);
          if (!hasFocus(section)) host.hold('focus', false);
          if (!list.firstChild) section.remove();
        };
        if (matchMedia('(prefers-reduced-motion: reduce)').matches) return remove();
        root.inert = true;
        root.dataset.leaving = '';
        setTimeout(remove, LEAVE_MS);
      },
      destroy: all(on(document, 'keydown', onKey), followModals(section), () => section.remove()),
    };
  };
}
