import { all, followModals, on, setAttribute } from './dom.ts';
import { fill, type Labels } from './labels.ts';
import type { ToastHost, ToastModel, Toasts } from './renderer.ts';

/** As long as the leaving animation in motion.css. */
const LEAVE_MS = 180;

/** One toast, as some renderer draws it. */
export interface Card {
  readonly root: HTMLElement;
  readonly close: HTMLElement;
  draw(model: ToastModel): void;
  /** Takes it off the page. */
  remove(): void;
}

/**
 * What toasts have in common that are elements of the page, whatever they look like: Escape and the way of the
 * focus, what holds their time, their place in modal dialogs, and how they leave. `add` puts a new one
 * into `region`.
 */
export function deck(
  host: ToastHost,
  labels: Labels,
  region: HTMLElement,
  add: (id: string, close: () => void) => Card,
): Toasts {
  const cards = new Map<string, Card>();
  const hasFocus = (element: Element) => element.contains(document.activeElement);
  /** Where the focus was before it came to the toasts. */
  let origin: EventTarget | null = null;

  function closeByUser(id: string): void {
    const order = [...cards.keys()];
    const place = order.indexOf(id);
    const focused = hasFocus((cards.get(id) as Card).root);
    const next = cards.get(order[place + 1] ?? order[place - 1] ?? '')?.close ?? origin;
    host.dismissed(id);
    if (focused) (next as HTMLElement | null)?.focus();
  }

  const onKey = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || event.defaultPrevented || event.isComposing) return;
    // A modal dialog closes first, alone.
    if (document.querySelector(':modal')) return;
    const order = [...cards];
    const [id] = order.find(([, { root }]) => hasFocus(root)) ?? order.at(-1) ?? [];
    if (id === undefined) return;
    event.preventDefault();
    closeByUser(id);
  };

  /** What has the focus has to be seen: toasts that cover all of it make do with the room below or above it. */
  function uncover(): void {
    const { activeElement } = document;
    if (!activeElement || hasFocus(region)) return;
    const { dataset, style } = region;
    delete dataset.above;
    style.maxBlockSize = '';
    const { left, right, top, bottom } = activeElement.getBoundingClientRect();
    const seen = [left + 1, (left + right) / 2, right - 1].some((x) =>
      [top + 1, bottom - 1].some((y) => !region.contains(document.elementFromPoint(x, y))),
    );
    if (seen) return;
    const below = innerHeight - bottom;
    if (top > below) dataset.above = '';
    style.maxBlockSize = `${Math.max(top, below)}px`;
  }

  return {
    show(model) {
      const { id, tone, title } = model;
      const known = cards.get(id);
      const card = known ?? add(id, () => closeByUser(id));
      cards.set(id, card);
      card.draw(model);
      if (!known) uncover();
      setAttribute(card.root, 'data-tone', tone);
      setAttribute(card.close, 'aria-label', fill(labels.dismiss, { title }));
    },
    dismiss(id) {
      const card = cards.get(id);
      if (!card) return;
      cards.delete(id);
      const remove = () => {
        card.remove();
        // An element that leaves under the pointer or with the focus sends no event.
        if (!region.matches(':hover')) host.hold('pointer', false);
        if (!hasFocus(region)) host.hold('focus', false);
      };
      if (matchMedia('(prefers-reduced-motion: reduce)').matches) return remove();
      card.root.inert = true;
      card.root.dataset.leaving = '';
      setTimeout(remove, LEAVE_MS);
    },
    destroy: all(
      on(document, 'keydown', onKey),
      on(document, 'focusin', uncover),
      on(region, 'pointerenter', () => host.hold('pointer', true)),
      on(region, 'pointerleave', () => host.hold('pointer', false)),
      on(region, 'focusin', ({ relatedTarget: from }: FocusEvent) => {
        if (from && !region.contains(from as Node)) origin = from;
        host.hold('focus', true);
      }),
      on(region, 'focusout', ({ relatedTarget: to }: FocusEvent) => {
        if (!region.contains(to as Node | null)) host.hold('focus', false);
      }),
      followModals(region),
      () => region.remove(),
    ),
  };
}
