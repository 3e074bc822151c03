/** The whole client for a page without a build: `/milepost.js` (global `Milepost`) and `/milepost.mjs`. */

export * from './analytics/index.ts';
export * from './background/index.ts';
export type * from './core/types.ts';
export * from './elements/index.ts';
export * from './htmx/index.ts';
export * from './notyf/index.ts';
export * from './outbox/index.ts';
export * from './ui/index.ts';

import { auto } from './auto.ts';
import { createClient as create } from './core/client.ts';
import type { Client, ClientOptions } from './core/types.ts';
import { shareTabs } from './share/index.ts';

/** With one connection for all tabs, where `userKey` says whose they are. */
export const createClient = (options: ClientOptions = {}): Client =>
  create({ share: shareTabs, ...options });

/** The client of `<script src="/milepost.js" data-auto>`. */
export const client = auto(document.currentScript);
