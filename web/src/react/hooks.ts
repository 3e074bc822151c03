import {
  useCallback,
  useEffect,
  useInsertionEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from 'react';
import type {
  AppNotification,
  ClientError,
  ConnectionState,
  JobSnapshot,
  NotificationsSnapshot,
  NotificationsStore,
  ReadableStore,
} from '../core/types.ts';
import { useMilepost, useStarted } from './provider.tsx';

// What a server renders, and the page until it has taken that over.
const NO_JOBS: readonly JobSnapshot[] = [];
const NO_NEWS: NotificationsSnapshot = {
  items: [],
  unreadCount: 0,
  hasMore: false,
  status: 'loading',
  pending: new Set(),
};
const NOT_STARTED: ConnectionState = {
  status: 'idle',
  transport: 'sse',
  attempt: 0,
  retryAt: null,
  notice: false,
  error: null,
  why: null,
  reason: null,
  paused: [],
};

const useStore = <T>({ subscribe, getSnapshot }: ReadableStore<T>, before: T): T =>
  useSyncExternalStore(subscribe, getSnapshot, () => before);

/** The state of the connection; it does not connect by itself. */
export const useConnection = (): ConnectionState => useStore(useMilepost().connection, NOT_STARTED);

/** Live, recently ended and tracked jobs, newest first. */
export const useJobs = (): readonly JobSnapshot[] => useStore(useStarted().jobs, NO_JOBS);

/** The number of unread notifications, as the server counts them. Draws anew only when it changes. */
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
  readonly enabled?: boolean;
  /** After how many failed attempts in a row `onError` is told; the client goes on trying. Default 10. */
  readonly maxReconnectAttempts?: number;
  /** Fresh news: once each, never for what was there before. */
  readonly onNotification?: (notification: AppNotification) => void;
  /** Once, until there is a connection again: too many attempts have failed, or it is over (signed out, forbidden). */
  readonly onError?: (error: ClientError) => void;
}

export interface UseNotifications
  extends Pick<NotificationsStore, 'markRead' | 'markAllRead' | 'archive' | 'loadOlder'> {
  /** Newest first. */
  readonly notifications: readonly AppNotification[];
  readonly unreadCount: number;
  readonly hasMore: boolean;
  readonly isLoading: boolean;
  /** By a stream or by polling. */
  readonly isConnected: boolean;
  /** Failed attempts in a row; 0 while connected. */
  readonly reconnectAttempts: number;
  connect(): void;
  /** This hook hears no more. The connection is everybody's, and stays. */
  disconnect(): void;
}

export function useNotifications(options: UseNotificationsOptions = {}): UseNotifications {
  const { enabled = true, maxReconnectAttempts = 10, onError } = options;
  const [wanted, want] = useState(true);
  const on = enabled && wanted;
  const client = useStarted(on);
  const { markRead, markAllRead, archive, loadOlder } = client.notifications;
  const { items, unreadCount, hasMore, status } = useStore(client.notifications, NO_NEWS);
  const connection = useConnection();
  const isConnected = on && (connection.status === 'connected' || connection.status === 'polling');

  const latest = useRef(options);
  useInsertionEffect(() => {
    latest.current = options;
  });
  useEffect(() => {
    if (on)
      return client.on('notification.created', (news) => latest.current.onNotification?.(news));
  }, [client, on]);

  const told = useRef(false);
  useEffect(() => {
    const { attempt, reason, error } = connection;
    const bad = on && !isConnected && (attempt >= maxReconnectAttempts || reason !== null);
    if (bad && error && !told.current) onError?.(error);
    told.current = bad && error !== null;
  });

  return {
    notifications: items,
    unreadCount,
    hasMore,
    isLoading: status === 'loading',
    isConnected,
    reconnectAttempts: on && !isConnected ? connection.attempt : 0,
    connect: useCallback(() => want(true), []),
    disconnect: useCallback(() => want(false), []),
    markRead,
    markAllRead,
    archive,
    loadOlder,
  };
}
