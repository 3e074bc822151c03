export { attachOutbox, type OutboxNoticeOptions } from './notice.ts';
export {
  createOutbox,
  type Outbox,
  type OutboxOptions,
  type OutboxSnapshot,
  type Outgoing,
} from './outbox.ts';
export type { Waiting } from './shelf.ts';
