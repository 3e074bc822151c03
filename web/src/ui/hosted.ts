import { all, el, icon, on, setAttribute } from './dom.ts';
import { fill, type Labels, labelsOf } from './labels.ts';
import type { ToastRenderer, Tone } from './renderer.ts';
import { toastBody } from './toast-body.ts';

/** React's own `createElement`; `E` is what it makes. */
export type CreateElement<E> = (
  type: 'div',
  props: { readonly className: string; readonly ref: (node: HTMLElement | null) => void },
) => E;

/** A library that draws toasts of React's elements. */
export interface Library<E> {
  /** Selects what somebody is on who is on the toasts. */
  readonly frame: string;
  /** A new toast, or another tone of the one with this id; it stays until `drop`. */
  put(id: string, tone: Tone, element: E, closed: () => void): void;
  drop(id: string): void;
}

/**
 * Toasts in somebody else's frame: the library gives each its place, its look and its movement; what stands in it are
 * our elements, so that progress changes them without drawing anything anew.
 */
export function hosted<E>(
  library: Library<E>,
  createElement: CreateElement<E>,
  own: Partial<Labels> | undefined,
): ToastRenderer {
  const labels = labelsOf(own);
  return (host) => {
    const drop = (id: string) => {
      if (toasts.delete(id)) library.drop(id);
    };
    function create(id: string) {
      // A library may also tell of an end that it was told of.
      const closed = () => {
        if (toasts.has(id)) host.dismissed(id);
      };
      const body = toastBody();
      const close = el('button', 'close', { onclick: closed }, icon('close'));
      // The region around it is a live one; what there is to say the announcer says.
      const root = el('div', 'hosted-row', { 'aria-live': 'off' }, body.root, close);
      const className = 'milepost-hosted';
      const element = createElement('div', { className, ref: (node) => node?.append(root) });
      return { root, body, close, closed, element, tone: '' };
    }
    const toasts = new Map<string, ReturnType<typeof create>>();
    // Not on the toasts: a library moves them, also from under the pointer.
    const isInside = (target: unknown) =>
      target instanceof Element && !!target.closest(library.frame);
    const unlisten = all(
      on(document, 'pointerover', ({ target }) => host.hold('pointer', isInside(target))),
      on(document, 'pointerleave', () => host.hold('pointer', false)),
      on(document, 'focusin', ({ target }) => host.hold('focus', isInside(target))),
      on(document, 'focusout', () => host.hold('focus', false)),
    );
    return {
      show(model) {
        const { id, tone, title } = model;
        const toast = toasts.get(id) ?? create(id);
        toasts.set(id, toast);
        toast.body.draw(model);
        setAttribute(toast.close, 'aria-label', fill(labels.dismiss, { title }));
        if (toast.tone !== tone) library.put(id, tone, toast.element, toast.closed);
        toast.tone = tone;
      },
      dismiss(id) {
        const root = toasts.get(id)?.root;
        drop(id);
        // What leaves with the focus sends no event.
        if (root?.contains(document.activeElement)) host.hold('focus', false);
      },
      destroy() {
        unlisten();
        for (const id of [...toasts.keys()]) drop(id);
      },
    };
  };
}
