/** Every sentence of the interface; `{name}` is replaced. */
export const LABELS = {
  region: 'Background activity',
  dismiss: 'Dismiss {title}',
  job: 'Background job',
  queued: 'Waiting to start',
  stalled: 'Taking longer than expected',
  progress: '{current} of {total}',
  progressUnknown: '{current} so far',
  started: 'started',
  completed: 'Complete',
  failed: 'Failed',
  cancelled: 'Cancelled',
  gone: 'Not available',
  openResult: 'Open result',
  open: 'Open',
  seconds: 'about {n} s left',
  minutes: 'about {n} min left',
  lostTitle: 'Connection lost',
  lostText: 'Live updates have stopped. Still trying to reconnect.',
  retry: 'Retry',
  reconnecting: 'Reconnecting…',
  polling: 'Updates by polling',
  signedOut: 'Signed out',
  refused: 'No live updates',
  bell: 'Notifications',
  bellUnread: 'Notifications, {n} unread',
  markAllRead: 'Mark all as read',
  archive: 'Archive {title}',
  unread: 'Unread:',
  loadOlder: 'Show older',
  loading: 'Loading…',
  empty: 'You are all caught up.',
  actionFailed: 'That did not work. Try again.',
} as const;

export type LabelName = keyof typeof LABELS;
export type Labels = Readonly<Record<LabelName, string>>;

export const labelsOf = (own: Partial<Labels> | undefined): Labels => ({ ...LABELS, ...own });

export const fill = (label: string, values: Readonly<Record<string, unknown>>): string =>
  label.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
