import type { AppNotification, Client, JobSnapshot, Level, Unsubscribe } from '../core/types.ts';
import { all, el, on, safeHref } from '../ui/dom.ts';

export interface BackgroundOptions {
  /** Whose tabs these are, as the client's `userKey`: all of them together show each event once. */
  readonly userKey: string;
  /** Notifications of which level are shown. Default success, warning, error. */
  readonly levels?: readonly Level[];
  /** Of a tracked job that has ended: `{completed: 'Complete', …}`. */
  readonly labels?: Partial<Record<'completed' | 'failed' | 'cancelled', string>>;
  /** The address of a picture. */
  readonly icon?: string;
}

const LABELS = { completed: 'Complete', failed: 'Failed', cancelled: 'Cancelled' } as const;

/** What happens within it is one event. */
const TOGETHER_MS = 10_000;

const supported = () => 'Notification' in globalThis && isSecureContext;

/**
 * Notifications of the browser's own while no tab of this user is looked at: for fresh notifications, and for the end of jobs
 * that the page tracks. Nothing is asked here: see `attachPermissionButton`. Only a client that was created with
 * `hidden: 'keep'` has a connection while every tab is hidden.
 */
export function attachBackground(client: Client, options: BackgroundOptions): Unsubscribe {
  const { userKey, icon, levels = ['success', 'warning', 'error'] } = options;
  if (!supported() || !navigator.locks) return () => {};
  const labels = { ...LABELS, ...options.labels };
  const scope = `milepost:1:${userKey}`;
  const seen = `${scope}:seen`;
  const shown = new Set<Notification>();
  const life = new AbortController();

  /** Held, together with all others of its kind, as long as this tab is looked at; gone with a tab that crashes. */
  let letGo: (() => void) | undefined;
  function look(): void {
    const visible = document.visibilityState === 'visible';
    if (!visible) {
      letGo?.();
      letGo = undefined;
      return;
    }
    for (const notification of shown) notification.close();
    if (letGo) return;
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    navigator.locks
      .request(seen, { mode: 'shared', signal: life.signal }, () => held)
      .catch(() => {});
  }
  const nobodyLooks = () =>
    navigator.locks.request(seen, { ifAvailable: true }, (lock) => lock !== null);

  /** All tabs hear of it, of a job's end perhaps twice: as such and as a notification. The first to come here shows it. */
  const first = (id: string) =>
    new Promise<boolean>((resolve) => {
      const hold = (lock: Lock | null) => {
        resolve(lock !== null);
        return lock && new Promise((end) => setTimeout(end, TOGETHER_MS));
      };
      navigator.locks.request(`${scope}:${id}`, { ifAvailable: true }, hold).catch(() => {});
    });

  async function show(id: string, title: string, body: string, href: string | null): Promise<void> {
    if (Notification.permission !== 'granted' || !(await nobodyLooks()) || !(await first(id)))
      return;
    const notification = new Notification(title, { body, tag: id, ...(icon && { icon }) });
    shown.add(notification);
    notification.onclose = () => shown.delete(notification);
    notification.onclick = () => {
      focus();
      notification.close();
      const to = safeHref(href);
      if (to) location.assign(to);
    };
  }

  function onNotification({ id, level, title, text, href, context }: AppNotification): void {
    if (!levels.includes(level)) return;
    const name = title || text;
    const about = context.job_id === undefined ? `note:${id}` : `job:${context.job_id}`;
    void show(about, name, text === name ? '' : text, href);
  }
  function onSettled({ id, title, state, tracked, error, output_url }: JobSnapshot): void {
    if (!tracked) return;
    const end = labels[state as keyof typeof LABELS];
    void show(`job:${id}`, title, error?.message ?? end, output_url);
  }

  look();
  return all(
    on(document, 'visibilitychange', look),
    client.on('notification.created', onNotification),
    client.on('job.settled', onSettled),
    () => {
      life.abort();
      letGo?.();
    },
  );
}

export interface PermissionButtonOptions {
  readonly label?: string;
  /** Called with what the person has said. */
  readonly onAnswer?: (permission: NotificationPermission) => void;
}

/**
 * A button in `target` that asks the person for the permission, as long as it has been neither given nor refused; it
 * is the only thing here that asks, and only when it is clicked.
 */
export function attachPermissionButton(
  target: Element,
  options: PermissionButtonOptions = {},
): Unsubscribe {
  const { label = 'Notify me when this tab is in the background', onAnswer } = options;
  if (!supported() || Notification.permission !== 'default') return () => {};
  async function ask(): Promise<void> {
    const permission = await Notification.requestPermission();
    if (permission === 'default') return;
    button.remove();
    onAnswer?.(permission);
  }
  const button = el('button', 'permission', { onclick: () => void ask() }, label);
  target.append(button);
  return () => button.remove();
}
