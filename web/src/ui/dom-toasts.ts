import { button, el, followModals, ICONS, icon, nextId, setAttribute, setText } from './dom.ts';
import { fill, type Labels, labelsOf } from './labels.ts';
import type { ToastHost, ToastModel, ToastRenderer } from './renderer.ts';

/** As long as the leaving animation in style.css. */
const LEAVE_MS = 180;

interface Parts {
  readonly root: HTMLLIElement;
  readonly icon: HTMLElement;
  readonly title: HTMLElement;
  readonly text: HTMLElement;
  readonly code: HTMLElement;
  readonly note: HTMLElement;
  readonly actions: HTMLElement;
  readonly close: HTMLButtonElement;
  bar: HTMLProgressElement | null;
  model: ToastModel;
}

/** The toasts of this package: a labelled list at the edge of the page, usable by keyboard. */
export function domToasts(options: { readonly labels?: Partial<Labels> } = {}): ToastRenderer {
  const labels = labelsOf(options.labels);
  const list = el('ul', 'toast-list');
  const section = el('section', 'toasts', { 'aria-label': labels.region }, list);
  const toasts = new Map<string, Parts>();
  let host: ToastHost | null = null;
  /** Where the focus was before it came to the toasts. */
  let origin: Element | null = null;

  const onPointer = (event: PointerEvent) => host?.hold('pointer', event.type === 'pointerenter');
  const onFocusIn = (event: FocusEvent) => {
    const from = event.relatedTarget;
    if (from instanceof Element && !section.contains(from)) origin = from;
    host?.hold('focus', true);
  };
  const onFocusOut = (event: FocusEvent) => {
    if (!section.contains(event.relatedTarget as Node | null)) host?.hold('focus', false);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || event.defaultPrevented || event.isComposing) return;
    // A modal dialog closes first, alone.
    if (document.querySelector(':modal')) return;
    const all = [...toasts.values()];
    const target = all.find(({ root }) => root.contains(document.activeElement)) ?? all.at(-1);
    if (!target) return;
    event.preventDefault();
    closeByUser(target);
  };

  function closeByUser(parts: Parts): void {
    const focused = parts.root.contains(document.activeElement);
    const order = [...toasts.values()];
    const place = order.indexOf(parts);
    const next = (order[place + 1] ?? order[place - 1])?.close ?? origin;
    renderer.dismiss(parts.model.id);
    if (focused && next instanceof HTMLElement) next.focus();
    host?.dismissed(parts.model.id);
  }

  function create(model: ToastModel): Parts {
    const titleId = nextId();
    const noteId = nextId();
    const parts: Parts = {
      root: el('li', 'toast'),
      icon: el('span', 'mark'),
      title: el('p', 'title', { id: titleId, dir: 'auto' }),
      text: el('p', 'text', { dir: 'auto' }),
      code: el('code', 'code'),
      note: el('p', 'note', { id: noteId }),
      actions: el('div', 'actions'),
      close: button('close', icon(ICONS.close)),
      bar: null,
      model,
    };
    const body = el('div', 'body');
    body.append(parts.title, parts.text, parts.code, parts.note, parts.actions);
    parts.root.append(parts.icon, body, parts.close);
    parts.close.addEventListener('click', () => closeByUser(parts));
    return parts;
  }

  function draw(parts: Parts, model: ToastModel, first: boolean): void {
    const { root, title, text, code, note, actions, close } = parts;
    if (first || parts.model.tone !== model.tone) {
      setAttribute(root, 'data-tone', model.tone);
      const path = ICONS[model.tone];
      parts.icon.replaceChildren(...(path ? [icon(path)] : []));
    }
    setText(title, model.title);
    setText(text, model.text);
    text.hidden = !model.text;
    setText(code, model.code ?? '');
    code.hidden = !model.code;
    setText(note, model.progress?.note ?? '');
    note.hidden = !model.progress;
    setAttribute(close, 'aria-label', fill(labels.dismiss, { title: model.title }));
    drawBar(parts, model);

    const { link, action } = model;
    const key = JSON.stringify([link, action?.label]);
    if (actions.dataset.key !== key) {
      actions.dataset.key = key;
      actions.replaceChildren();
      if (link)
        actions.append(el('a', 'action', { href: link.href, 'aria-label': link.name }, link.label));
      if (action) {
        const act = button('action', action.label);
        act.addEventListener('click', () => parts.model.action?.run());
        actions.append(act);
      }
      actions.hidden = !link && !action;
    }
    parts.model = model;
  }

  function drawBar(parts: Parts, { progress }: ToastModel): void {
    if (!progress) {
      parts.bar?.remove();
      parts.bar = null;
      return;
    }
    if (!parts.bar) {
      parts.bar = el('progress', 'bar', {
        'aria-labelledby': parts.title.id,
        'aria-describedby': parts.note.id,
      });
      parts.note.before(parts.bar);
    }
    setAttribute(parts.bar, 'max', String(progress.max));
    // Without `value` it is indeterminate, for the eye and for assistive technology.
    setAttribute(parts.bar, 'value', progress.value === null ? null : String(progress.value));
  }

  section.addEventListener('pointerenter', onPointer);
  section.addEventListener('pointerleave', onPointer);
  section.addEventListener('focusin', onFocusIn);
  section.addEventListener('focusout', onFocusOut);
  let unfollow = () => {};

  const renderer: ToastRenderer = {
    attach(to) {
      host = to;
      document.addEventListener('keydown', onKey);
      unfollow = followModals([section]);
    },
    show(model) {
      const parts = create(model);
      draw(parts, model, true);
      toasts.set(model.id, parts);
      if (!section.isConnected) {
        const modals = document.querySelectorAll(':modal');
        (modals[modals.length - 1] ?? document.body).append(section);
      }
      list.append(parts.root);
    },
    update(model) {
      const parts = toasts.get(model.id);
      if (parts) draw(parts, model, false);
    },
    dismiss(id) {
      const parts = toasts.get(id);
      if (!parts) return;
      toasts.delete(id);
      const { root } = parts;
      const remove = () => {
        root.remove();
        // An element that leaves under the pointer or with the focus sends no event.
        if (!section.matches(':hover')) host?.hold('pointer', false);
        if (!section.contains(document.activeElement)) host?.hold('focus', false);
        if (!list.firstChild) section.remove();
      };
      if (matchMedia('(prefers-reduced-motion: reduce)').matches) return remove();
      root.inert = true;
      root.dataset.leaving = '';
      setTimeout(remove, LEAVE_MS);
    },
    destroy() {
      document.removeEventListener('keydown', onKey);
      unfollow();
      section.remove();
      toasts.clear();
      host = null;
    },
  };
  return renderer;
}
