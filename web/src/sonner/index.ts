import { type CreateElement, hosted } from '../ui/hosted.ts';
import type { Labels } from '../ui/labels.ts';
import type { ToastRenderer } from '../ui/renderer.ts';

export type { CreateElement } from '../ui/hosted.ts';
export type { Labels } from '../ui/labels.ts';
export type { ToastRenderer } from '../ui/renderer.ts';

interface Options {
  readonly id: string;
  readonly duration: number;
  readonly onDismiss: () => void;
}
type Draw<E> = (message: E, options: Options) => unknown;

/** As much of sonner's `toast` as is used here; `E` is an element of React's. */
export interface SonnerToast<E> {
  readonly success: Draw<E>;
  readonly info: Draw<E>;
  readonly warning: Draw<E>;
  readonly error: Draw<E>;
  readonly loading: Draw<E>;
  dismiss(id: string): unknown;
}

/**
 * Toasts in sonner's frame: `attachToasts(client, {renderer: sonnerToasts(toast, createElement)})`, with sonner's
 * `<Toaster>` on the page and `milepost/style.css`. Its keys and its accessibility are sonner's.
 */
export const sonnerToasts = <E>(
  toast: SonnerToast<E>,
  createElement: CreateElement<E>,
  options: { readonly labels?: Partial<Labels> } = {},
): ToastRenderer =>
  hosted(
    {
      frame: '[data-sonner-toaster]',
      put(id, tone, element, onDismiss) {
        const draw = toast[tone === 'progress' ? 'loading' : tone];
        // The time is not sonner's to keep: it is held while a tab is hidden or a toast is pointed at.
        draw(element, { id, duration: Number.POSITIVE_INFINITY, onDismiss });
      },
      drop: (id) => toast.dismiss(id),
    },
    createElement,
    options.labels,
  );
