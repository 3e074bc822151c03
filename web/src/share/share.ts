/** What a client needs of the other tabs of its user, and they of it. */
import type { AppNotification, ConnectionState, Job, TransportName } from '../core/types.ts';
import type { Delivery } from '../core/wire.ts';

/** All that a tab has of the server. */
export interface Held {
  readonly cursor: string | null;
  readonly live: boolean;
  readonly jobs: ReadonlyMap<string, Job>;
  readonly notifications: ReadonlyMap<string, AppNotification>;
  readonly readUpTo: number;
  readonly unread: number;
  readonly asOf: string | null;
}

/** The client of this tab. */
export interface Sharer {
  /** What the tabs that share have in common; none where they have nothing. */
  readonly name: string | undefined;
  isVisible(): boolean;
  held(): Held;
  state(): ConnectionState;
  /** The leader has got this. */
  deliver(delivery: Delivery): void;
  /** The connection looks different now. */
  show(): void;
  /** Connect, beginning with the transport that worked for the leader before. */
  lead(transport?: TransportName): void;
  /** Disconnect: another tab connects for all. */
  follow(): void;
  /** The network may be worth another look. */
  poke(): void;
}

/** Without others of its kind a tab only ever leads. */
export interface Tabs {
  /** This tab connects. */
  readonly leads: boolean;
  /** The leader's connection, in a tab that follows it. */
  shown?(): Partial<ConnectionState> | null;
  /** Repeated calls do nothing. */
  join(): void;
  leave?(): void;
  /** The leader's news for all the others. */
  tell?(news: readonly Delivery[]): void;
  poke(): void;
  /** Whether no other tab has asked for this id in the last seconds. */
  first?(id: string): Promise<boolean>;
}

export type Share = (sharer: Sharer) => Tabs;
