import { el, nextId, setAttribute, setText } from './dom.ts';
import type { ToastModel } from './renderer.ts';

export interface ToastBody {
  readonly root: HTMLElement;
  /** Has the id that names the toast. */
  readonly title: HTMLElement;
  draw(model: ToastModel): void;
}

/** What a toast says: the same elements in every look. A repeated state changes none of them. */
export function toastBody(): ToastBody {
  const title = el('p', 'title', { id: nextId(), dir: 'auto' });
  const text = el('p', 'text', { dir: 'auto' });
  const code = el('code', 'code');
  const note = el('p', 'note', { id: nextId() });
  const actions = el('div', 'actions');
  const bar = el('progress', 'bar', {
    'aria-labelledby': title.id,
    'aria-describedby': note.id,
  });
  let acting: string | undefined;
  return {
    root: el('div', 'body', {}, title, text, code, note, actions),
    title,
    draw({ title: name, text: said, code: error, progress, action }) {
      setText(title, name);
      setText(text, said);
      setText(code, error ?? '');
      setText(note, progress?.note ?? '');
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
