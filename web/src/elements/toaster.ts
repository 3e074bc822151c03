import type { Client, Unsubscribe } from '../core/types.ts';
import { all, home } from '../ui/dom.ts';
import type { Labels } from '../ui/labels.ts';
import { attachToasts } from '../ui/toasts.ts';
import { MilepostElement } from './element.ts';
import { page } from './page.ts';

const DEFAULT_MAX = 5;
/** What stands in the body. An empty list of toasts leaves by itself. */
const OURS = '.milepost-announcer, .milepost-toasts:has(.milepost-toast)';

/** Says how many toasts there are at once (`max`) and, to the style sheet, where (`position`). */
export class ToasterElement extends MilepostElement {
  static readonly observedAttributes: readonly string[] = ['max'];

  protected attach(): Unsubscribe {
    keepToasts();
    return keepToasts;
  }

  attributeChangedCallback(): void {
    keepToasts();
  }
}

/** One set of toasts, while an element or `data-auto` asks for it. An element that is only replaced changes nothing. */
function keepToasts(): void {
  queueMicrotask(() => {
    const { client: given, auto, labels, toasts } = page;
    const toaster = document.querySelector('milepost-toaster');
    const client = toaster || auto ? given : null;
    const asked = Number.parseInt(toaster?.getAttribute('max') ?? '', 10);
    const max = asked >= 0 ? asked : DEFAULT_MAX;
    if (toasts ? toasts.client === client && toasts.max === max : !client) return;
    toasts?.end();
    page.toasts = client ? { client, max, end: attach(client, max, labels) } : undefined;
  });
}

function attach(client: Client, maxToasts: number, labels: Partial<Labels>): Unsubscribe {
  // Who replaces all that is in the body takes our elements with it.
  const observer = new MutationObserver((records) => {
    for (const node of records.flatMap(({ removedNodes }) => [...removedNodes]))
      if (node instanceof Element && !node.isConnected && node.matches(OURS)) home().append(node);
  });
  observer.observe(document.body, { childList: true });
  const detach = attachToasts(withoutShown(client), { maxToasts, labels });
  return all(() => observer.disconnect(), detach);
}

/** A job that the page itself shows needs no toast. */
function withoutShown(client: Client): Client {
  const shown = (id: string) =>
    document.querySelector(`milepost-progress[job-id="${CSS.escape(id)}"]`);
  const getSnapshot = () => client.jobs.getSnapshot().filter(({ id }) => !shown(id));
  return { ...client, jobs: { ...client.jobs, getSnapshot } };
}

export interface ElementOptions {
  readonly labels?: Partial<Labels>;
}

/** The client of all Milepost elements, of those that are on the page and of those that come. `null`: of none any more. */
export function setDefaultClient(client: Client | null, options: ElementOptions = {}): void {
  page.client = client;
  page.labels = options.labels ?? {};
  for (const element of [...page.elements]) element.renew();
  keepToasts();
}
