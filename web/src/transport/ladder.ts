import type { TransportName } from '../core/types.ts';
import { longPoll, poll } from './changes.ts';
import { sse } from './sse.ts';
import type { Transport } from './transport.ts';

/** Best first. All of them feed one reducer and share one cursor, so a change of rung is invisible. */
export const TRANSPORTS: Readonly<Record<TransportName, Transport>> = {
  sse,
  'long-poll': longPoll,
  poll,
};

export const LADDER = Object.keys(TRANSPORTS) as readonly TransportName[];
