import type { AppNotification, Client, JobSnapshot, Level, Unsubscribe } from '../core/types.ts';
import { useAnnouncer } from './announcer.ts';
import { safeHref } from './dom.ts';
import { domToasts } from './dom-toasts.ts';
import { fill, type Labels, labelsOf } from './labels.ts';
import type { ToastModel, ToastRenderer } from './renderer.ts';
import { PausableTimers } from './timers.ts';

/** Notifications that wait for a free place; the inbox has the others too. */
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
  readonly left: () => void;
}

/** Toasts for tracked jobs, for fresh notifications and for a lost connection. */
export function attachToasts(client: Client, options: ToastOptions = {}): Unsubscribe {
  const labels = labelsOf(options.labels);
  const renderer = options.renderer ?? domToasts({ labels });
  const { maxToasts = 5, successMs = 6000, announceEvery = 5 } = options;
  const levels = options.toastLevels ?? ['success', 'warning', 'error'];
  const announcer = useAnnouncer();
  const timers = new PausableTimers();
  const toasts = new Map<string, Entry>();
  const { memory } = client;

  // --- places -------------------------------------------------------------------------------------

  function put(model: ToastModel, left: () => void): void {
    const known = toasts.get(model.id);
    if (known) {
      const changed = JSON.stringify(known.model) !== JSON.stringify(model);
      known.model = model;
      if (known.shown && changed) {
        renderer.update(model);
        runTimer(known);
      }
      return;
    }
    const entry: Entry = { model, shown: false, left };
    toasts.set(model.id, entry);
    arrange();
  }

  /** Who came first is shown first; the others wait until one has left. */
  function arrange(): void {
    const all = [...toasts.values()];
    const free = maxToasts - all.filter(({ shown }) => shown).length;
    const waiting = all.filter(({ shown }) => !shown);
    for (const entry of waiting.splice(0, Math.max(0, free))) {
      entry.shown = true;
      renderer.show(entry.model);
      runTimer(entry);
    }
    const notes = waiting.filter(({ model }) => model.id.startsWith('note:'));
    for (const { model } of notes.slice(MAX_WAITING)) toasts.delete(model.id);
    remember();
  }

  function runTimer({ model }: Entry): void {
    if (model.autoDismissMs === null) timers.clear(model.id);
    else timers.set(model.id, model.autoDismissMs, () => remove(model.id));
  }

  function remove(id: string, byUser = false): void {
    const left = toasts.get(id)?.left;
    discard(id, byUser);
    left?.();
  }

  function discard(id: string, byUser = false): void {
    const entry = toasts.get(id);
    if (!entry) return;
    toasts.delete(id);
    timers.clear(id);
    if (entry.shown && !byUser) renderer.dismiss(id);
    arrange();
  }

  const remember = () => memory.setOpen([...toasts.keys()].filter((id) => id.startsWith('note:')));

  // --- jobs ---------------------------------------------------------------------------------------

  const announced = new Map<string, { attempt: number; state: string; step: number }>();

  function drawJobs(): void {
    const followed = new Set<string>();
    // The newest nearest to the edge of the page.
    for (const job of [...client.jobs.getSnapshot()].reverse()) {
      if (!job.tracked || job.state === 'gone') continue;
      followed.add(`job:${job.id}`);
      if (job.stale) continue;
      const done = job.state !== 'queued' && job.state !== 'running' && job.state !== 'stalled';
      const key = `job:${job.id}:${job.attempt}:${done ? 'end' : 'live'}`;
      if (!toasts.has(`job:${job.id}`) && memory.has(key)) continue;
      put(jobToast(job, labels, successMs), () => {
        // What leaves is what is on screen now, perhaps another state than when it came.
        const now = client.job(job.id).getSnapshot();
        const ended = now.finished_at !== null;
        memory.claim(`job:${job.id}:${now.attempt}:${ended ? 'end' : 'live'}`);
        if (ended) memory.release(job.id);
      });
      announceJob(job, done);
    }
    // The page let go of it, or it is gone. How it ended is still shown.
    for (const [id, { model }] of [...toasts])
      if (id.startsWith('job:') && model.tone === 'progress' && !followed.has(id)) discard(id);
  }

  function announceJob(job: JobSnapshot, done: boolean): void {
    const title = job.title || labels.job;
    const { current, total, attempt, state } = job;
    const every = Math.max(announceEvery, Math.ceil((total ?? 0) / 8));
    const step = Math.floor(current / every);
    const before = announced.get(job.id);
    if (before?.attempt === attempt && before.state === (done ? state : '') && before.step >= step)
      return;
    announced.set(job.id, { attempt, state: done ? state : '', step });
    const text = done
      ? endText(job, labels)
      : before?.attempt === attempt
        ? count(job, labels)
        : labels.started;
    announcer.announce(job.id, `${title}: ${text}`);
  }

  // --- notifications ------------------------------------------------------------------------------

  const visible = () => document.visibilityState === 'visible';
  let unseen: AppNotification[] = [];

  function onNotification(notification: AppNotification): void {
    if (!levels.includes(notification.level)) return;
    // A tracked job tells its end in a toast of its own.
    const jobId = notification.context.job_id;
    if (typeof jobId === 'string' && client.job(jobId).getSnapshot().tracked) return;
    unseen.push(notification);
    if (unseen.length > MAX_WAITING) unseen.shift();
    if (visible()) showUnseen();
  }

  function showUnseen(): void {
    const due = unseen;
    unseen = [];
    // The first tab that is looked at shows it; the others know by the claim.
    for (const notification of due)
      if (memory.claim(`note:${notification.id}`)) {
        drawNotification(notification);
        const { title, text } = notification;
        announcer.announce(notification.id, title && title !== text ? `${title}. ${text}` : text);
      }
  }

  const drawNotification = (notification: AppNotification) =>
    put(notificationToast(notification, labels, successMs), () => {});

  /** Toasts that were open when this tab left the page before. */
  let reopen = new Set(memory.open());
  function drawReopened(): void {
    if (!reopen.size) return;
    const { items, status } = client.notifications.getSnapshot();
    if (status !== 'ready') return;
    const ids = reopen;
    reopen = new Set();
    for (const item of items) if (ids.has(`note:${item.id}`)) drawNotification(item);
    remember();
  }

  // --- connection ---------------------------------------------------------------------------------

  function drawConnection(): void {
    if (client.connection.getSnapshot().status !== 'error') return remove(CONNECTION);
    if (toasts.has(CONNECTION)) return;
    put(
      {
        id: CONNECTION,
        tone: 'error',
        title: labels.lostTitle,
        text: labels.lostText,
        code: 'STREAM_DISCONNECTED',
        action: { label: labels.retry, run: () => client.retryNow() },
        autoDismissMs: null,
      },
      () => {},
    );
    announcer.announce(CONNECTION, `${labels.lostTitle}. ${labels.lostText}`);
  }

  const onVisibility = () => {
    timers.hold('hidden', !visible());
    if (visible()) showUnseen();
  };

  renderer.attach({
    dismissed: (id) => remove(id, true),
    hold: (reason, held) => timers.hold(reason, held),
  });
  document.addEventListener('visibilitychange', onVisibility);
  onVisibility();
  const leave = [
    client.jobs.subscribe(drawJobs),
    client.on('notification.created', onNotification),
    client.notifications.subscribe(drawReopened),
    client.connection.subscribe(drawConnection),
  ];
  drawJobs();
  drawReopened();

  return () => {
    for (const off of leave) off();
    document.removeEventListener('visibilitychange', onVisibility);
    timers.destroy();
    renderer.destroy();
    announcer.release();
  };
}

const endText = (job: JobSnapshot, labels: Labels): string => {
  if (job.state === 'completed') return job.message || labels.completed;
  if (job.state === 'failed') return job.error?.message || labels.failed;
  return labels.cancelled;
};

export function jobToast(job: JobSnapshot, labels: Labels, successMs: number): ToastModel {
  const title = job.title || labels.job;
  const common = { id: `job:${job.id}`, title };
  switch (job.state) {
    case 'completed': {
      const href = safeHref(job.output_url);
      return {
        ...common,
        tone: 'success',
        text: endText(job, labels),
        ...(href && {
          link: { href, label: labels.openResult, name: `${labels.openResult}: ${title}` },
        }),
        autoDismissMs: successMs,
      };
    }
    case 'failed':
      return {
        ...common,
        tone: 'error',
        text: endText(job, labels),
        code: job.error?.code ?? 'UNEXPECTED',
        autoDismissMs: null,
      };
    case 'cancelled':
      return { ...common, tone: 'info', text: labels.cancelled, autoDismissMs: successMs };
    default: {
      const { current, total } = job;
      const text =
        job.state === 'stalled'
          ? labels.stalled
          : job.state === 'queued'
            ? job.message || labels.queued
            : job.message;
      return {
        ...common,
        tone: 'progress',
        text,
        progress: {
          value: total === null ? null : current,
          max: total ?? 1,
          note: note(job, labels),
        },
        autoDismissMs: null,
      };
    }
  }
}

const count = ({ current, total }: JobSnapshot, labels: Labels): string =>
  fill(total === null ? labels.progressUnknown : labels.progress, { current, total: total ?? '' });

function note(job: JobSnapshot, labels: Labels): string {
  const { current, total, eta_seconds: eta } = job;
  const parts = total !== null || current ? [count(job, labels)] : [];
  if (eta)
    parts.push(
      fill(eta < 90 ? labels.seconds : labels.minutes, {
        n: Math.ceil(eta < 90 ? eta : eta / 60),
      }),
    );
  return parts.join(' · ');
}

export function notificationToast(
  { id, level, title, text, href }: AppNotification,
  labels: Labels,
  successMs: number,
): ToastModel {
  const link = safeHref(href);
  const heading = title || text;
  return {
    id: `note:${id}`,
    tone: level,
    title: heading,
    text: text === heading ? '' : text,
    ...(link && {
      link: { href: link, label: labels.open, name: `${labels.open}: ${heading}` },
    }),
    autoDismissMs: level === 'error' ? null : successMs,
  };
}
