import type { AppNotification, Gone, Job } from './types.ts';

/** What any transport delivers, in the order of the server's revisions. */
export type Delivery = {
  readonly cursor: string | null;
  /** The number of unread notifications as of a cursor, where it was said. */
  readonly unread: number | null;
  readonly asOf: string | null;
} & (
  | { readonly type: 'job'; readonly job: Job | Gone }
  | { readonly type: 'notification'; readonly notification: AppNotification | Gone }
  | { readonly type: 'inbox'; readonly readUpTo: number }
  /** Everything up to here has been sent. */
  | { readonly type: 'live' | 'heartbeat' }
  | { readonly type: 'reset'; readonly reason: string }
);

type Fields = Readonly<Record<string, unknown>>;

/** The fields of an object; none of null. */
export const fields = (value: unknown): Fields => Object(value);
export const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);
export const number = (value: unknown): number | null =>
  Number.isFinite(value) ? (value as number) : null;

/** The fields of a JSON object; none where that cannot be read. */
export function parseJson(read: () => string | null): Fields {
  try {
    return fields(JSON.parse(read() ?? ''));
  } catch {
    return {};
  }
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

/** A document, or null where its identity cannot be read. */
function document<T>(value: unknown): T | Gone | null {
  const { id, rev } = fields(value);
  return text(id) && number(rev) !== null ? (value as T | Gone) : null;
}

export const isGone = (doc: object): doc is Gone => (doc as Partial<Gone>).gone === true;
export const readJob = (value: unknown) => document<Job>(value);
export const readNotification = (value: unknown) => document<AppNotification>(value);

/** One event's data or one entry of `GET /api/changes`; null where it is nothing that we know. */
export function readDelivery(type: string, data: unknown, id: string | null): Delivery | null {
  const all = fields(data);
  const cursor = id ?? text(all.cursor);
  const common = { cursor, unread: number(all.unread), asOf: text(all.as_of) ?? cursor };
  switch (type) {
    case 'job':
    case 'notification': {
      const document = type === 'job' ? readJob(all.job) : readNotification(all.notification);
      return document && ({ ...common, type, [type]: document } as Delivery);
    }
    case 'inbox':
      return { ...common, type, readUpTo: number(all.read_up_to) ?? 0 };
    case 'live':
    case 'heartbeat':
      return { ...common, type };
    case 'reset':
      return { ...common, type, reason: String(all.reason) };
  }
  return null;
}

/** One page of `GET /api/changes` as deliveries; null where it is none. */
export function readPage(page: Fields): Delivery[] | null {
  const { changes, reset } = page;
  if (!Array.isArray(changes)) return null;
  return [
    reset ? readDelivery('reset', { reason: reset }, null) : null,
    ...changes.map((change: unknown) => {
      const all = fields(change);
      if ('inbox' in all) return readDelivery('inbox', all.inbox, text(all.cursor));
      return readDelivery('job' in all ? 'job' : 'notification', all, null);
    }),
    page.more ? null : readDelivery('live', page, null),
  ].filter((delivery) => delivery !== null);
}
