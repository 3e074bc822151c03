import type { AppNotification, Gone, Job } from './types.ts';

/** What any transport delivers, in the order of the server's revisions. */
export type Delivery =
  | { readonly type: 'job'; readonly job: Job | Gone; readonly cursor: string | null }
  | {
      readonly type: 'notification';
      readonly notification: AppNotification | Gone;
      readonly unread: number | null;
      readonly asOf: string | null;
      readonly cursor: string | null;
    }
  | {
      readonly type: 'inbox';
      readonly unread: number;
      readonly readUpTo: number;
      readonly asOf: string | null;
      readonly cursor: string | null;
    }
  /** Everything up to here has been sent; also what a heartbeat says. */
  | { readonly type: 'live' | 'heartbeat'; readonly cursor: string | null }
  | { readonly type: 'reset'; readonly reason: string };

type Fields = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);
const number = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null;

/** A document, or null where its identity cannot be read. Absent fields get their empty value. */
function document<T>(value: unknown, empty: Partial<T>): T | Gone | null {
  if (!isObject(value) || !text(value.id) || number(value.rev) === null) return null;
  if (value.gone === true) return { id: value.id as string, rev: value.rev as number, gone: true };
  return { ...empty, ...value } as T;
}

export const EMPTY_JOB: Omit<Job, 'id'> = {
  kind: '',
  title: '',
  owner: null,
  watchers: [],
  state: 'queued',
  attempt: 1,
  current: 0,
  total: null,
  percent: null,
  message: '',
  counters: {},
  item: null,
  eta_seconds: null,
  rate: null,
  result: null,
  output_url: null,
  error: null,
  created_at: '',
  started_at: null,
  updated_at: '',
  finished_at: null,
  rev: -1,
};

export const readJob = (value: unknown): Job | Gone | null => document<Job>(value, EMPTY_JOB);

export function readNotification(value: unknown): AppNotification | Gone | null {
  const read = document<AppNotification>(value, {
    user: null,
    level: 'info',
    title: '',
    message: '',
    href: null,
    context: {},
    status: 'unread',
    created_at: '',
    read_at: null,
  });
  if (!read || 'gone' in read) return read;
  return { ...read, seq: read.seq ?? read.rev, text: read.text ?? (read.message || read.title) };
}

/** One entry of `GET /api/changes`, or one event's data with its type and cursor. */
export function readDelivery(
  type: string,
  data: unknown,
  cursor: string | null,
): Delivery | null {
  if (!isObject(data)) return null;
  const at = cursor ?? text(data.cursor);
  switch (type) {
    case 'job': {
      const job = readJob(data.job);
      return job && { type, job, cursor: at };
    }
    case 'notification': {
      const notification = readNotification(data.notification);
      const unread = number(data.unread);
      return notification && { type, notification, unread, asOf: text(data.as_of), cursor: at };
    }
    case 'inbox': {
      const unread = number(data.unread) ?? 0;
      const readUpTo = number(data.read_up_to) ?? 0;
      return { type, unread, readUpTo, asOf: text(data.as_of) ?? at, cursor: at };
    }
    case 'live':
    case 'heartbeat':
      return { type, cursor: at };
    case 'reset':
      return { type, reason: text(data.reason) ?? 'unknown' };
    default:
      return null;
  }
}

/** One page of `GET /api/changes` as deliveries. */
export function readPage(data: unknown): {
  readonly deliveries: readonly Delivery[];
  readonly more: boolean;
} | null {
  if (!isObject(data) || !Array.isArray(data.changes)) return null;
  const deliveries: Delivery[] = [];
  if (data.reset) deliveries.push({ type: 'reset', reason: String(data.reset) });
  for (const change of data.changes) {
    if (!isObject(change)) continue;
    const type = ['job', 'notification', 'inbox'].find((name) => name in change);
    const body = type === 'inbox' && isObject(change.inbox) ? change.inbox : change;
    const delivery = type && readDelivery(type, body, text(change.cursor));
    if (delivery) deliveries.push(delivery);
  }
  const more = data.more === true;
  const cursor = text(data.cursor);
  if (!more) deliveries.push({ type: 'live', cursor });
  const unread = number(data.unread);
  if (unread !== null && !more) deliveries.push({ type: 'inbox', unread, readUpTo: 0, asOf: cursor, cursor });
  return { deliveries, more };
}
