import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { createClient } from '../core/client.ts';
import type {
  AppNotification,
  ClientError,
  ConnectionState,
  JobSnapshot,
  NotificationsSnapshot,
  NotificationsStore,
  ReadableStore,
} from '../core/types.ts';
import { useLatest, useMilepost, useStarted } from './provider.ts';

/** What a server renders, and a page until it has taken that over: a client that has heard nothing, and never will. */
export const NEW = createClient({ baseUrl: 'http://localhost/', storage: 'memory' });

export const useStore = <T>(
  { subscribe, getSnapshot }: ReadableStore<T>,
  before: ReadableStore<T>,
): T => useSyncExternalStore(subscribe, getSnapshot, before.getSnapshot);

/** Calls back for each key once; '' makes it ready for the same one again, undefined says nothing. */
export function useTold<T>(
  key: string | undefined,
  tell: ((value: T) => void) | undefined,
  value: T,
): void {
  const told = useRef('');
  useEffect(() => {
    if (key === undefined || key === told.current) return;
    told.current = key;
    if (key) tell?.(value);
  });
}

/** The state of the connection. It does not connect by itself. */
export const useConnection = (): ConnectionState =>
  useStore(useMilepost().connection, NEW.connection);

/** Live, recently ended and tracked jobs, newest first. */
export const useJobs = (): readonly JobSnapshot[] => useStore(useStarted().jobs, NEW.jobs);

/** The number of unread notifications, as the server counts them; only another number draws anew. */
export function useUnreadCount(): number {
  const { subscribe, getSnapshot } = useStarted().notifications;
  return useSyncExternalStore(
    subscribe,
    () => getSnapshot().unreadCount,
    () => 0,
  );
}

export interface UseNotificationsOptions {
  /** `false`: as after `disconnect()`. Default `true`. */
  readonly enabled?: boolean | undefined;
  /** After how many failed attempts in a row `onError` is told; the client goes on trying. Default 10. */
  readonly maxReconnectAttempts?: number | undefined;
  /** Fresh news: each once, never what was there before. */
  readonly onNotification?: ((notification: AppNotification) => void) | undefined;
  /** Once, until there is a connection again: too many attempts have failed, or it is over (signed out, forbidden). */
  readonly onError?: ((error: ClientError) => void) | undefined;
}

/** All of `client.notifications` and of its state now, and of the connection what concerns it. */
export interface UseNotifications extends Omit<NotificationsSnapshot, 'items'>, NotificationsStore {
  /** Newest first. */
  readonly notifications: readonly AppNotification[];
  /** By a stream or by polling. */
  readonly isConnected: boolean;
  /** Failed attempts in a row; 0 while connected. */
  readonly reconnectAttempts: number;
  connect(): void;
  /** This hook hears no more. The connection is everybody's, and stays. */
  disconnect(): void;
}

export function useNotifications({
  enabled = true,
  maxReconnectAttempts = 10,
  onNotification,
  onError,
}: UseNotificationsOptions = {}): UseNotifications {
  const [wanted, want] = useState(true);
  const on = enabled && wanted;
  const client = useStarted(on);
  const { items, ...news } = useStore(client.notifications, NEW.notifications);
  const { status, attempt, reason, error } = useConnection();
  const isConnected = on && (status === 'connected' || status === 'polling');
  const reconnectAttempts = on && !isConnected ? attempt : 0;

  const latest = useLatest(onNotification);
  useEffect(() => {
    if (on) return client.on('notification.created', (fresh) => latest.current?.(fresh));
  }, [client, on, latest]);
  const over = on && reason && reason !== 'closed';
  const bad = error && (over || reconnectAttempts >= maxReconnectAttempts);
  useTold(bad ? 'bad' : '', onError, error as ClientError);

  return {
    ...news,
    ...client.notifications,
    ...useMemo(() => ({ connect: () => want(true), disconnect: () => want(false) }), []),
    notifications: items,
    isConnected,
    reconnectAttempts,
  };
}
