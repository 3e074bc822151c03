export type Tone = 'progress' | 'info' | 'success' | 'warning' | 'error';

export interface ToastModel {
  readonly id: string;
  readonly tone: Tone;
  readonly title: string;
  readonly text: string;
  /** Of an error. */
  readonly code?: string | undefined;
  /** `value` null: indeterminate. `note` says the same, and more, in words. */
  readonly progress?:
    | { readonly value: number | null; readonly max: number; readonly note: string }
    | undefined;
  /** A link (`href`) or a button (`run`). `name` is what a screen reader says instead of `label`. */
  readonly action?:
    | {
        readonly label: string;
        readonly name?: string;
        readonly href?: string;
        readonly run?: () => void;
      }
    | undefined;
  /** Milliseconds until it leaves by itself; null: it stays. The caller keeps the time. */
  readonly autoDismissMs: number | null;
}

/** What a renderer tells back. */
export interface ToastHost {
  /** The user wants it closed: `dismiss` follows. */
  dismissed(id: string): void;
  /** The user is on the toasts (pointer or focus): none may leave by itself meanwhile. */
  hold(reason: 'pointer' | 'focus', held: boolean): void;
}

/** Toasts on a page. All strings are text, never HTML. */
export interface Toasts {
  /** A new one, or another state of the one with this id. */
  show(toast: ToastModel): void;
  /** Unless it has none with this id. */
  dismiss(id: string): void;
  destroy(): void;
}

/** Starts to draw toasts. */
export type ToastRenderer = (host: ToastHost) => Toasts;
