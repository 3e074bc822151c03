/** The whole client for a page without a build: `/milepost.js` (global `Milepost`) and `/milepost.mjs`. */
export { createClient } from './core/client.ts';
export type * from './core/types.ts';
export * from './ui/index.ts';

import { auto } from './auto.ts';

/** The client of `<script src="/milepost.js" data-auto>`. */
export const client = auto(document.currentScript);
