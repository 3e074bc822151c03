/** Custom elements, registered by importing this. All are plain elements of the page, without a shadow root. */
import type { JobSnapshot } from '../core/types.ts';
import { BellElement, ConnectionElement, InboxElement } from './filled.ts';
import { ProgressElement } from './progress.ts';
import { ToasterElement } from './toaster.ts';

export { type ElementOptions, setDefaultClient } from './toaster.ts';

declare global {
  interface HTMLElementEventMap {
    'milepost:settled': CustomEvent<JobSnapshot>;
  }
}

const ELEMENTS = {
  'milepost-bell': BellElement,
  'milepost-connection': ConnectionElement,
  'milepost-inbox': InboxElement,
  'milepost-progress': ProgressElement,
  'milepost-toaster': ToasterElement,
};

// A second copy of this code finds them there.
if (globalThis.customElements)
  for (const [name, element] of Object.entries(ELEMENTS))
    if (!customElements.get(name)) customElements.define(name, element);
