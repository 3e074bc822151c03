import type { AppNotification, Client, JobSnapshot, Level, Unsubscribe } from '../core/types.ts';
import { announce, holdAnnouncer } from './announcer.ts';
import { all, on } from './dom.ts';
import { domToasts } from './dom-toasts.ts';
import { countOf, ENDS, jobToast, linkTo, type ToastContent, textOf } from './job-toast.ts';
import { type Labels, labelsOf } from './labels.ts';
import type { ToastModel, ToastRenderer } from './renderer.ts';
import { pausableTimers } from './timers.ts';

/** How many notifications wait to be looked at, and behind how many toasts. The inbox has the others too. */
const MAX_WAITING = 50;
const CONNECTION = 'connection';

export interface ToastOptions {
  readonly renderer?: ToastRenderer;
  /** At once on screen. Default 5. */
  readonly maxToasts?: number;
  /** How long a success stays, in milliseconds. Default 6000; Infinity: until it is closed. */
  readonly successMs?: number;
  /** Every how many steps progress is announced. Default 5. */
  readonly announceEvery?: number;
  /** Notifications of which level become toasts. Default success, warning, error. */
  readonly toastLevels?: readonly Level[];
  readonly labels?: Partial<Labels>;
}

interface Entry {
  model: ToastModel;
  shown: boolean;
  /** Called when it has left, for good. */
  readonly left: (() => void) | undefined;
}

/** Toasts for tracked jobs, for fresh notifications and for a lost connection. */
export function attachToasts(client: Client, options: ToastOptions = {}): Unsubscribe {
  const labels = labelsOf(options.labels);
  const {
    renderer = domToasts({ labels }),
    maxToasts = 5,
    successMs = 6000,
    announceEvery = 5,
    toastLevels = ['success', 'warning', 'error'],
  } = options;
  const timers = pausableTimers();
  const toasts = new Map<string, Entry>();
  const drawn = renderer({ dismissed: remove, hold: timers.hold });
  const { memory } = client;

  // --- places -------------------------------------------------------------------------------------

  function put(content: ToastContent, left?: () => void): ToastContent {
    const { id, tone } = content;
    const stays = tone === 'error' || tone === 'progress';
    const model = { ...content, autoDismissMs: stays ? null : successMs };
    const known = toasts.get(id);
    if (known) {
      const changed = JSON.stringify(known.model) !== JSON.stringify(model);
      known.model = model;
      if (known.shown && changed) show(known);
    } else {
      toasts.set(id, { model, shown: false, left });
      arrange();
    }
    return content;
  }

  function show(entry: Entry): void {
    const { id, autoDismissMs } = entry.model;
    entry.shown = true;
    drawn.show(entry.model);
    timers.set(id, autoDismissMs ?? Number.POSITIVE_INFINITY, () => remove(id));
  }

  /** Who came first is shown first; the others wait until one has left. */
  function arrange(): void {
    const entries = [...toasts.values()];
    let free = maxToasts - entries.filter(({ shown }) => shown).length;
    for (const entry of entries) if (!entry.shown && free-- > 0) show(entry);
    memory.setOpen([...toasts.keys()].filter((id) => id.startsWith('note:')));
  }

  function remove(id: string): void {
    const left = toasts.get(id)?.left;
    discard(id);
    left?.();
  }

  function discard(id: string): void {
    timers.clear(id);
    drawn.dismiss(id);
    if (toasts.delete(id)) arrange();
  }

  // --- jobs ---------------------------------------------------------------------------------------

  const phase = ({ id, attempt, state }: JobSnapshot) =>
    `job:${id}:${attempt}:${ENDS[state] ? 'end' : 'live'}`;

  /** In a toast of its own: also to its end, where the page lets go of it there. */
  const tellsItself = (job: JobSnapshot) =>
    job.tracked || (ENDS[job.state] && toasts.has(`job:${job.id}`));

  function drawJobs(): void {
    const followed = new Set<string>();
    // The newest nearest to the edge of the page.
    for (const job of [...client.jobs.getSnapshot()].reverse()) {
      const id = `job:${job.id}`;
      if (job.state === 'gone' || !tellsItself(job)) continue;
      followed.add(id);
      if (job.stale || (!toasts.has(id) && memory.has(phase(job)))) continue;
      put(jobToast(job, labels), () => {
        // What leaves is what is on screen now, perhaps another state than when it came.
        const now = client.job(job.id).getSnapshot();
        void memory.claim(phase(now));
        if (ENDS[now.state]) memory.release(job.id);
      });
      announceJob(id, job);
    }
    // The page let go of it, or it is gone. How it ended is still shown.
    for (const [id, { model }] of toasts)
      if (model.tone === 'progress' && !followed.has(id)) discard(id);
  }

  /** By job and attempt: how far its announcements are. */
  const announced = new Map<string, number>();

  function announceJob(id: string, job: JobSnapshot): void {
    const { current, total, attempt, state, title } = job;
    const every = Math.max(announceEvery, Math.ceil((total ?? 0) / 8));
    const step = ENDS[state] ? Number.POSITIVE_INFINITY : Math.floor(current / every);
    const run = `${id}:${attempt}`;
    const before = announced.get(run);
    if (before !== undefined && before >= step) return;
    announced.set(run, step);
    const text = ENDS[state]
      ? textOf(job, labels)
      : before === undefined
        ? labels.started
        : countOf(job, labels);
    announce(id, `${title || labels.job}: ${text}`);
  }

  // --- notifications ------------------------------------------------------------------------------

  let unseen: AppNotification[] = [];

  function onNotification(notification: AppNotification): void {
    if (!toastLevels.includes(notification.level)) return;
    const jobId = notification.context.job_id;
    if (typeof jobId === 'string' && tellsItself(client.job(jobId).getSnapshot())) return;
    if (unseen.push(notification) > MAX_WAITING) unseen.shift();
    showUnseen();
  }

  function showUnseen(): void {
    const hidden = document.visibilityState === 'hidden';
    timers.hold('hidden', hidden);
    if (hidden) return;
    const due = unseen;
    unseen = [];
    for (const notification of due) {
      // The first tab that is looked at shows it; the others know by the claim.
      if (toasts.size < MAX_WAITING)
        void memory
          .claim(`note:${notification.id}`)
          .then((mine) => mine && say(drawNotification(notification)));
    }
  }

  function drawNotification(notification: AppNotification): ToastContent {
    const { id, level, text, href } = notification;
    const title = notification.title || text;
    return put({
      id: `note:${id}`,
      tone: level,
      title,
      text: text === title ? '' : text,
      action: linkTo(href, labels.open, title),
    });
  }

  const say = ({ id, title, text }: ToastContent) =>
    announce(id, [title, text].filter(Boolean).join('. '));

  /** Toasts that were open when this tab left the page before. */
  let reopen = memory.open();

  function drawReopened(): void {
    const { items, status } = client.notifications.getSnapshot();
    if (status !== 'ready') return;
    const ids = reopen;
    reopen = [];
    for (const item of items) if (ids.includes(`note:${item.id}`)) drawNotification(item);
  }

  // --- connection ---------------------------------------------------------------------------------

  function drawConnection(): void {
    if (client.connection.getSnapshot().status !== 'error') return remove(CONNECTION);
    if (toasts.has(CONNECTION)) return;
    say(
      put({
        id: CONNECTION,
        tone: 'error',
        title: labels.lostTitle,
        text: labels.lostText,
        code: 'STREAM_DISCONNECTED',
        action: { label: labels.retry, run: () => client.retryNow() },
      }),
    );
  }

  const detach = all(
    holdAnnouncer(),
    on(document, 'visibilitychange', showUnseen),
    client.jobs.subscribe(drawJobs),
    client.on('notification.created', onNotification),
    client.notifications.subscribe(drawReopened),
    client.connection.subscribe(drawConnection),
    () => timers.hold('detached', true),
    () => drawn.destroy(),
  );
  showUnseen();
  drawJobs();
  drawReopened();
  return detach;
}
