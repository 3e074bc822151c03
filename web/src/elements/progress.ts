import type { Client, JobSnapshot, Unsubscribe } from '../core/types.ts';
import { announce, holdAnnouncer } from '../ui/announcer.ts';
import { all, el, setAttribute, setText } from '../ui/dom.ts';
import { ENDS, jobToast, textOf } from '../ui/job-toast.ts';
import { type Labels, labelsOf } from '../ui/labels.ts';
import { MilepostElement } from './element.ts';
import { isNews } from './told.ts';

/** What the parts say; a part that is not named stays as it is. */
interface View {
  readonly title?: string;
  readonly percent?: string;
  readonly text?: string;
  readonly code?: string | undefined;
  readonly note?: string | undefined;
  /** `value` null: indeterminate. Without it there is none. */
  readonly bar?: { readonly value: number | null; readonly max: number } | undefined;
  readonly link?: { readonly href?: string | undefined; readonly label: string } | undefined;
}

/**
 * Shows the job of its `job-id`, and follows it while it is on the page. What the server has put in stays until the
 * job is known. Then the parts that it has marked (`data-part`: title, percent, text, code, bar, note, link) are
 * filled; where it has marked none, ours take the place of its text, around its `<progress>` if it has one.
 */
export class ProgressElement extends MilepostElement {
  static readonly observedAttributes: readonly string[] = ['job-id'];

  /** Whose state it shows. */
  #shown: string | undefined;
  /** Which job it has shown before its end. */
  #live: string | undefined;

  attributeChangedCallback(_: string, before: string | null, now: string | null): void {
    if (before !== now) this.renew();
  }

  protected attach(client: Client, own: Partial<Labels>): Unsubscribe {
    const id = this.getAttribute('job-id');
    if (!id) return () => {};
    const labels = labelsOf(own);
    const store = client.job(id);
    const draw = () => this.#draw(store.getSnapshot(), client, labels);
    const end = all(store.subscribe(draw), store.track(), holdAnnouncer());
    draw();
    return end;
  }

  #draw(job: JobSnapshot, client: Client, labels: Labels): void {
    const { id, state, stale } = job;
    const gone = state === 'gone';
    if (stale && !gone) {
      // What stands there is about this job, or about none that we know of.
      const stays = this.innerHTML.trim() && (this.#shown ?? id) === id;
      if (!stays) this.#fill({ title: '', text: labels.loading, bar: { value: null, max: 1 } });
      return;
    }
    const name = job.title || labels.job;
    const text = textOf(job, labels);
    this.#fill(gone ? { text } : viewOf(job, text, labels), name);
    this.#shown = id;
    setAttribute(this, 'data-state', state);
    setAttribute(this, 'data-tone', ENDS[state] ?? (gone ? 'info' : 'progress'));
    if (!gone && !ENDS[state]) this.#live = id;
    else {
      // It has been seen here: no toast for it elsewhere.
      client.memory.release(id);
      if (!isNews(`${id}:${job.attempt}:${job.created_at}`)) return;
      if (this.#live === id) announce(`job:${id}`, `${name}: ${text}`);
      // Who listens may take this element away.
      queueMicrotask(() =>
        this.dispatchEvent(new CustomEvent('milepost:settled', { detail: job, bubbles: true })),
      );
    }
  }

  #fill(view: View, name = view.text ?? ''): void {
    if (!this.querySelector('[data-part]')) this.#build();
    const part = <E extends HTMLElement>(key: string) =>
      this.querySelector<E>(`[data-part="${key}"]`);
    for (const key of ['title', 'percent', 'text', 'code', 'note'] as const) {
      const element = part(key);
      if (element && (key in view || key !== 'title')) setText(element, view[key] ?? '');
    }
    const bar = part('bar');
    if (bar) {
      bar.hidden = !view.bar;
      setAttribute(bar, 'max', view.bar?.max ?? 1);
      // Without `value` it is indeterminate, for the eye and for assistive technology.
      setAttribute(bar, 'value', view.bar?.value);
      setAttribute(bar, 'aria-label', name);
    }
    const link = part('link');
    if (!link) return;
    link.hidden = !view.link;
    setAttribute(link, 'href', view.link?.href);
    if (!link.textContent && view.link) setText(link, view.link.label);
    setAttribute(link, 'aria-label', `${link.textContent}: ${name}`);
  }

  #build(): void {
    const part = <K extends 'p' | 'code' | 'a'>(tag: K, key: string) =>
      el(tag, key, { 'data-part': key, dir: 'auto' });
    const bar = this.querySelector('progress') ?? document.createElement('progress');
    bar.classList.add('milepost-bar');
    bar.dataset.part = 'bar';
    const link = el('a', 'action', { 'data-part': 'link' });
    const box = el('div', 'progress');
    box.append(
      part('p', 'title'),
      part('p', 'percent'),
      part('p', 'text'),
      part('code', 'code'),
      bar,
      part('p', 'note'),
      link,
    );
    this.replaceChildren(box);
  }
}

function viewOf(job: JobSnapshot, text: string, labels: Labels): View {
  const { state, current, total, percent } = job;
  const { title, code, progress, action } = jobToast(job, labels);
  const whole = { value: 1, max: 1 };
  // It stops where the job has stopped.
  const stopped = total ? { value: current, max: total } : undefined;
  return {
    title,
    text,
    code,
    note: progress?.note,
    percent: progress && percent !== null ? `${Math.floor(percent)} %` : '',
    bar: progress ?? (state === 'completed' ? whole : stopped),
    link: action,
  };
}
