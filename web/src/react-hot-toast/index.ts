import { type CreateElement, hosted } from '../ui/hosted.ts';
import type { Labels } from '../ui/labels.ts';
import type { ToastRenderer } from '../ui/renderer.ts';

export type { CreateElement } from '../ui/hosted.ts';
export type { Labels } from '../ui/labels.ts';
export type { ToastRenderer } from '../ui/renderer.ts';

interface Options {
  readonly id: string;
  readonly duration: number;
  readonly ariaProps: { readonly role: 'status'; readonly 'aria-live': 'off' };
}
type Draw<E> = (message: E, options: Options) => unknown;

/** As much of react-hot-toast's `toast` as is used here; `E` is an element of React's. */
export interface HotToast<E> extends Draw<E> {
  readonly success: Draw<E>;
  readonly error: Draw<E>;
  readonly loading: Draw<E>;
  dismiss(id: string): unknown;
}

/**
 * Toasts in the frame of react-hot-toast: `attachToasts(client, {renderer: hotToasts(toast, createElement)})`, with its
 * `<Toaster>` on the page and `milepost/style.css`. Its accessibility is its own.
 */
export const hotToasts = <E>(
  toast: HotToast<E>,
  createElement: CreateElement<E>,
  options: { readonly labels?: Partial<Labels> } = {},
): ToastRenderer =>
  hosted(
    {
      frame: '.milepost-hosted',
      put(id, tone, element) {
        const draws = { progress: toast.loading, success: toast.success, error: toast.error };
        const draw = tone === 'info' || tone === 'warning' ? toast : draws[tone];
        const ariaProps = { role: 'status', 'aria-live': 'off' } as const;
        // The time is not the library's to keep: it is held while a tab is hidden or a toast is pointed at.
        draw(element, { id, duration: Number.POSITIVE_INFINITY, ariaProps });
      },
      drop: (id) => toast.dismiss(id),
    },
    createElement,
    options.labels,
  );
