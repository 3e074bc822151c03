import { safeHref } from '../ui/dom.ts';
import { domToasts } from '../ui/dom-toasts.ts';
import { fill, type Labels, labelsOf } from '../ui/labels.ts';
import type { ToastModel, ToastRenderer, Toasts } from '../ui/renderer.ts';
import { pausableTimers } from '../ui/timers.ts';

export interface ProgressToastOptions {
  readonly title?: string;
  readonly renderer?: ToastRenderer;
  readonly labels?: Partial<Labels>;
  /** How long a success stays, in milliseconds. Default 6000. */
  readonly successMs?: number;
}

/** Product D: one toast, updated in place. Nobody but the caller says what it shows. */
export class ProgressToast {
  readonly #labels: Labels;
  readonly #title: string;
  readonly #successMs: number;
  readonly #timers = pausableTimers();
  readonly #toasts: Toasts;

  constructor({ title, renderer, labels, successMs = 6000 }: ProgressToastOptions = {}) {
    this.#labels = labelsOf(labels);
    this.#title = title ?? this.#labels.job;
    this.#successMs = successMs;
    const draw = renderer ?? domToasts({ labels: this.#labels });
    this.#toasts = draw({ dismissed: () => this.close(), hold: this.#timers.hold });
  }

  /** `total` null or left out: indeterminate. */
  showProgress(now: { current: number; total?: number | null; message?: string }): void {
    const { current, total = null, message = '' } = now;
    const label = total === null ? this.#labels.progressUnknown : this.#labels.progress;
    const note = fill(label, { current, total });
    const value = total === null ? null : current;
    this.#show({ tone: 'progress', text: message, progress: { value, max: total ?? 1, note } });
  }

  /** Links to the output, and leaves by itself. */
  showSuccess({ outputUrl, message }: { outputUrl?: string | null; message?: string } = {}): void {
    const href = safeHref(outputUrl ?? null);
    const action = href ? { href, label: this.#labels.openResult } : undefined;
    const text = message ?? this.#labels.completed;
    this.#show({ tone: 'success', text, action, autoDismissMs: this.#successMs });
  }

  /** Stays until it is closed. */
  showError({ code = 'UNEXPECTED', message }: { code?: string; message?: string } = {}): void {
    this.#show({ tone: 'error', text: message || this.#labels.failed, code });
  }

  close(): void {
    this.#timers.clear('job');
    this.#toasts.dismiss('job');
  }

  #show(toast: Pick<ToastModel, 'tone' | 'text'> & Partial<ToastModel>): void {
    const model = { id: 'job', title: this.#title, autoDismissMs: null, ...toast };
    this.#toasts.show(model);
    this.#timers.set('job', model.autoDismissMs ?? Number.POSITIVE_INFINITY, () => this.close());
  }
}
