export { createClient } from './core/client.ts';
export type * from './core/types.ts';
