export { attachBell, type BellOptions } from './bell.ts';
export { attachConnection, type ConnectionOptions } from './connection.ts';
export { domToasts } from './dom-toasts.ts';
export { attachInbox, type InboxOptions } from './inbox.ts';
export type { Labels } from './labels.ts';
export type { ToastHost, ToastModel, ToastRenderer, Toasts, Tone } from './renderer.ts';
export { attachToasts, type ToastOptions } from './toasts.ts';
