import type { Unsubscribe } from '../core/types.ts';

type Attribute = string | number | null | undefined | (() => void);

/**
 * Elements from text and attributes only: no string is ever read as HTML. `onclick` is a function, not an
 * attribute.
 */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  name: string,
  attributes: Readonly<Record<string, Attribute>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.className = `milepost-${name}`;
  // A button that does not say so would send the form around it.
  if (tag === 'button') setAttribute(element, 'type', tag);
  for (const [key, value] of Object.entries(attributes))
    if (typeof value === 'function') element.onclick = value;
    else setAttribute(element, key, value);
  element.append(...children);
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/** Strokes in a box of 20 × 20. */
const ICONS = {
  close: 'M5.5 5.5l9 9m0-9l-9 9',
  success: 'M4.5 10.5l3.8 3.8 7.2-8.2',
  error: 'M10 5.2v6m0 3.4v.2',
  warning: 'M10 5.2v6m0 3.4v.2',
  info: 'M10 9v5.6M10 5.4v.2',
  bell: 'M10 3a4.6 4.6 0 0 0-4.6 4.6c0 4.2-1.6 5.4-1.6 5.4h12.4s-1.6-1.2-1.6-5.4A4.6 4.6 0 0 0 10 3zM8.5 16a1.7 1.7 0 0 0 3 0',
} as const;

/**
 * A drawing that says nothing. Not an image of the style sheet: a page whose policy forbids `data:` images
 * would have buttons without a glyph.
 */
export function icon(name: keyof typeof ICONS): SVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  const path = document.createElementNS(SVG, 'path');
  setAttribute(svg, 'class', 'milepost-icon');
  setAttribute(svg, 'viewBox', '0 0 20 20');
  setAttribute(svg, 'aria-hidden', 'true');
  setAttribute(path, 'd', ICONS[name]);
  svg.append(path);
  return svg;
}

/** Writes only what differs, so that a repeated state changes nothing in the page. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** The same for an attribute; without a value it is taken away. */
export function setAttribute(
  element: Element,
  name: string,
  value: string | number | boolean | null | undefined,
): void {
  if (value == null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== `${value}`) element.setAttribute(name, `${value}`);
}

/** A link that is safe to follow: relative, http or https; undefined for everything else. */
export function safeHref(href: string | null): string | undefined {
  const { protocol } = el('a', '', { href });
  return href && /^https?:$/.test(protocol) ? href : undefined;
}

let ids = 0;
export const nextId = (): string => `milepost-${++ids}`;

/** Listens until the returned function is called. */
export function on<E extends Event>(
  target: EventTarget,
  type: string,
  listener: (event: E) => void,
  capture = false,
): Unsubscribe {
  target.addEventListener(type, listener as EventListener, capture);
  return () => target.removeEventListener(type, listener as EventListener, capture);
}

/** All of these ends as one. */
export const all =
  (...ends: Unsubscribe[]): Unsubscribe =>
  () => {
    for (const end of ends) end();
  };

/** While a modal dialog is open, everything outside it is inert: what has to be seen is in the topmost one. */
export const home = (): Element => [...document.querySelectorAll(':modal')].at(-1) ?? document.body;

/** Keeps an element where it can be seen while dialogs open and close. */
export function followModals(element: Element): Unsubscribe {
  const place = () => {
    const to = home();
    if (element.isConnected && element.parentElement !== to) to.append(element);
  };
  return all(on(document, 'toggle', place, true), on(document, 'close', place, true));
}
