export { attachDomEvents, type DomEventOptions } from './events.ts';
