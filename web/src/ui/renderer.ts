export type Tone = 'progress' | 'info' | 'success' | 'warning' | 'error';

export interface ToastModel {
  readonly id: string;
  readonly tone: Tone;
  readonly title: string;
  readonly text: string;
  /** Of an error. */
  readonly code?: string;
  /** `value` null: indeterminate. `note` says the same, and more, in words. */
  readonly progress?: {
    readonly value: number | null;
    readonly max: number;
    readonly note: string;
  };
  /** `name` is what a screen reader says instead of `label`. */
  readonly link?: { readonly href: string; readonly label: string; readonly name: string };
  readonly action?: { readonly label: string; run(): void };
  /** Milliseconds until it leaves by itself; null: it stays. The caller keeps the time. */
  readonly autoDismissMs: number | null;
}

/** What a renderer tells back. */
export interface ToastHost {
  /** The user closed it. */
  dismissed(id: string): void;
  /** The user is on the toasts (pointer or focus): none may leave by itself meanwhile. */
  hold(reason: 'pointer' | 'focus', held: boolean): void;
}

/** Draws toasts. All strings are text, never HTML. */
export interface ToastRenderer {
  attach(host: ToastHost): void;
  show(toast: ToastModel): void;
  update(toast: ToastModel): void;
  dismiss(id: string): void;
  destroy(): void;
}
