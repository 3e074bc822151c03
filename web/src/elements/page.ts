import type { Client, Unsubscribe } from '../core/types.ts';
import type { Labels } from '../ui/labels.ts';

/** What the elements of one page share. */
interface Page {
  client: Client | null;
  labels: Partial<Labels>;
  /** The client of `data-auto`, which brings toasts without an element for them. */
  auto?: Client;
  /** Those that are on the page. */
  readonly elements: Set<{ renew(): void }>;
  toasts?: { readonly client: Client; readonly max: number; readonly end: Unsubscribe } | undefined;
  /** The ends that have been told, where the browser stores nothing. */
  told: readonly string[];
}

const KEY = Symbol.for('milepost.page');
const globals = globalThis as { [KEY]?: Page };

/** Also for a second copy of this code: two scripts that bring it, or a script and a module. */
globals[KEY] ??= { client: null, labels: {}, elements: new Set(), told: [] };
export const page: Page = globals[KEY];
