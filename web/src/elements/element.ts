import type { Client, Unsubscribe } from '../core/types.ts';
import type { Labels } from '../ui/labels.ts';
import { page } from './page.ts';

/** On a server there are no elements, but the module can be loaded. */
const Base = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

/** Is at work while it is on the page and there is a client, whichever comes first. */
export abstract class MilepostElement extends Base {
  #end: Unsubscribe | undefined;

  protected abstract attach(client: Client, labels: Partial<Labels>): Unsubscribe;

  connectedCallback(): void {
    page.elements.add(this);
    // The parser may not have read what stands in it.
    if (document.readyState === 'loading')
      document.addEventListener('DOMContentLoaded', () => this.renew(), { once: true });
    else this.renew();
  }

  /** Moved by `moveBefore`: nothing ends, nothing begins. */
  connectedMoveCallback(): void {}

  disconnectedCallback(): void {
    page.elements.delete(this);
    this.renew();
  }

  renew(): void {
    this.#end?.();
    const { client, labels } = page;
    const here = page.elements.has(this) && document.readyState !== 'loading';
    this.#end = client && here ? this.attach(client, labels) : undefined;
  }
}
