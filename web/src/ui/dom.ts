/** Elements from text and attributes only: no string is ever read as HTML. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  name: string,
  attributes: Readonly<Record<string, string>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.className = `milepost-${name}`;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function button(name: string, ...children: (Node | string)[]): HTMLButtonElement {
  return el('button', name, { type: 'button' }, ...children);
}

const SVG = 'http://www.w3.org/2000/svg';

/** A decorative 20 × 20 line drawing. */
export function icon(path: string): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 20 20');
  svg.setAttribute('class', 'milepost-icon');
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS(SVG, 'path');
  line.setAttribute('d', path);
  svg.append(line);
  return svg;
}

export const ICONS = {
  close: 'M5.5 5.5l9 9m0-9l-9 9',
  success: 'M4.5 10.5l3.8 3.8 7.2-8.2',
  error: 'M10 5.2v6m0 3.4v.2',
  warning: 'M10 5.2v6m0 3.4v.2',
  info: 'M10 9v5.6M10 5.4v.2',
  progress: '',
  bell: 'M10 3a4.6 4.6 0 0 0-4.6 4.6c0 4.2-1.6 5.4-1.6 5.4h12.4s-1.6-1.2-1.6-5.4A4.6 4.6 0 0 0 10 3zM8.5 16a1.7 1.7 0 0 0 3 0',
} as const;

/** Writes only what differs, so that a repeated state changes nothing in the page. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string | null): void {
  if (value === null) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** A link that is safe to follow: relative, http or https; null for everything else. */
export function safeHref(href: unknown): string | null {
  if (typeof href !== 'string' || !href) return null;
  try {
    const { protocol } = new URL(href, document.baseURI);
    return protocol === 'https:' || protocol === 'http:' ? href : null;
  } catch {
    return null;
  }
}

let ids = 0;
export const nextId = (): string => `milepost-${++ids}`;

/** While a modal dialog is open, everything outside it is inert: what has to be seen moves into it. */
export function followModals(elements: readonly HTMLElement[]): () => void {
  const place = () => {
    const modals = document.querySelectorAll<HTMLElement>(':modal');
    const home = modals[modals.length - 1] ?? document.body;
    for (const element of elements)
      if (element.isConnected && element.parentElement !== home) home.append(element);
  };
  document.addEventListener('toggle', place, true);
  document.addEventListener('close', place, true);
  return () => {
    document.removeEventListener('toggle', place, true);
    document.removeEventListener('close', place, true);
  };
}
