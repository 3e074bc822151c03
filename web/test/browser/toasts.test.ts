import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { userEvent } from 'vitest/browser';
import type { Client, ClientOptions } from '../../src/core/types.ts';
import { memoryStorage } from '../../src/storage/storage.ts';
import { attachToasts, type ToastOptions } from '../../src/ui/index.ts';
import { violations } from '../fixture/axe.ts';
import { LOOKS } from '../fixture/looks.ts';
import { room, until } from '../fixture/room.ts';
import { clean, styled } from '../fixture/style.ts';

const quick = { backoff: [10], idleBackoff: [10] };
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(LOOKS)('$name', ({ renderer, card, region }) => {
  const toasts = () => [...document.querySelectorAll<HTMLElement>(`${card}:not([data-leaving])`)];
  const texts = () => toasts().map((toast) => toast.textContent);
  const announcer = () => document.querySelector('.milepost-announcer') as HTMLElement;

  function setup(options: ToastOptions = {}, clientOptions: ClientOptions = {}) {
    clean();
    styled();
    const { client: make, ...server } = room();
    const client = make({ timing: quick, ...clientOptions });
    const detach = attachToasts(client, { renderer: renderer(), ...options });
    onTestFinished(detach);
    client.start();
    return { client, server, detach };
  }

  async function job(
    server: ReturnType<typeof room>['do'],
    client: Client,
    id: string,
    fields = {},
  ) {
    client.job(id).track();
    await server({
      put: { id, title: `Job ${id}`, state: 'running', current: 1, total: 32, ...fields },
    });
    await until(() => texts().some((text) => text.includes(`Job ${id}`)));
  }

  test('one job is one toast, updated in place; unknown total, then known, then done with its link', async () => {
    const { client, server } = setup();
    await job(server.do, client, 'a', { total: null, current: 0, message: 'Reading' });
    const [toast] = toasts();
    const bar = toast?.querySelector('progress') as HTMLProgressElement;
    expect(bar.hasAttribute('value')).toBe(false);
    await server.do({
      put: { id: 'a', total: 8, current: 2, message: 'Writing', eta_seconds: 20 },
    });
    await until(() => bar.value === 2);
    expect(bar.max).toBe(8);
    expect(toast?.textContent).toContain('2 of 8 · about 20 s left');
    await server.do({ put: { id: 'a', state: 'completed', current: 8, output_url: '/out.zip' } });
    await until(() => toast?.dataset.tone === 'success');
    expect(toasts()).toEqual([toast]);
    const link = toast?.querySelector('a') as HTMLAnchorElement;
    expect(link.getAttribute('href')).toBe('/out.zip');
    expect(link.getAttribute('aria-label')).toBe('Open result: Job a');
    expect(toast?.querySelector('progress')).toBeNull();
  });

  test('the same state again changes nothing in the page', async () => {
    const { client, server } = setup();
    await job(server.do, client, 'a');
    await pause(300);
    const changes = vi.fn();
    const observer = new MutationObserver(changes);
    observer.observe(document.body, {
      subtree: true,
      childList: true,
      attributes: true,
      characterData: true,
    });
    const frame = (rev: number) =>
      `event: job\ndata: {"job":{"id":"a","rev":${rev},"title":"Other"}}\n\n`;
    await server.do({ raw: frame(1) + frame(0) + frame(1) });
    await pause(200);
    observer.disconnect();
    expect(changes).not.toHaveBeenCalled();
  });

  test('a failure stays, with its code and message', async () => {
    const { client, server } = setup({ successMs: 50 });
    await job(server.do, client, 'a');
    const error = { code: 'TEMPLATE_ERROR', message: 'Field {case} is missing' };
    await server.do({ put: { id: 'a', state: 'failed', error } });
    await until(() => texts()[0]?.includes('TEMPLATE_ERROR'));
    expect(texts()[0]).toContain('Field {case} is missing');
    await pause(300);
    expect(toasts()).toHaveLength(1);
  });

  test('a success leaves by itself, but not while pointed at or focused', async () => {
    const { client, server } = setup({ successMs: 300 });
    await job(server.do, client, 'a');
    const [toast] = toasts();
    await userEvent.hover(toast as HTMLElement);
    await server.do({ put: { id: 'a', state: 'completed', output_url: '/out' } });
    await until(() => toast?.dataset.tone === 'success');
    await pause(600);
    expect(toasts()).toHaveLength(1);
    toast?.querySelector('a')?.focus();
    await userEvent.unhover(toast as HTMLElement);
    await pause(600);
    expect(toasts()).toHaveLength(1);
    (document.activeElement as HTMLElement).blur();
    await until(() => toasts().length === 0);
    await until(() => !document.querySelector(region));
  });

  test('a success does not leave while nobody looks; what comes meanwhile is shown to who comes back', async () => {
    const look = (state: DocumentVisibilityState) => {
      Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
      document.dispatchEvent(new Event('visibilitychange'));
    };
    onTestFinished(() => {
      Reflect.deleteProperty(document, 'visibilityState');
    });
    const { client, server } = setup({ successMs: 300 }, { hidden: 'keep' });
    await job(server.do, client, 'a');
    look('hidden');
    await server.do(
      { put: { id: 'a', state: 'completed' } },
      { notify: { id: 'n', title: 'New' } },
    );
    await until(() => toasts()[0]?.dataset.tone === 'success');
    await pause(600);
    expect(texts()).toHaveLength(1);
    look('visible');
    await until(() => texts().some((text) => text.includes('New')));
    await until(() => toasts().length === 0);
  });

  test('a job that had ended before the first look still shows its end', async () => {
    const { client, server } = setup();
    await server.do({ put: { id: 'a', title: 'Job a', state: 'completed', finished_at: 'x' } });
    client.job('a').track();
    await until(() => toasts()[0]?.dataset.tone === 'success');
  });

  test('at most five at a time; the others come, in their order, as places become free', async () => {
    const { client, server } = setup({ successMs: 300 });
    const corner = document.createElement('button');
    document.body.prepend(corner);
    // Not on the toasts, which would hold them.
    await userEvent.hover(corner);
    for (const id of 'abcde') await job(server.do, client, id);
    for (const id of 'fg') {
      client.job(id).track();
      // Both may come in one frame; their order is that of their creation.
      const created_at = `2027-01-01T00:00:0${id === 'f' ? 1 : 2}Z`;
      await server.do({
        put: { id, title: `Job ${id}`, state: 'running', current: 1, total: 2, created_at },
      });
    }
    await until(() => client.jobs.getSnapshot().length === 7);
    await pause(100);
    expect(toasts()).toHaveLength(5);
    await server.do({ put: { id: 'b', state: 'completed' } });
    await until(() => texts().some((text) => text.includes('Complete')));
    await until(() => texts().some((text) => text.includes('Job f')));
    expect(toasts()).toHaveLength(5);
    expect(texts().join()).not.toMatch(/Job [bg]/);
  });

  test('Escape closes the focused toast, else the newest; focus goes to the next, then back', async () => {
    const { client, server } = setup();
    const field = document.createElement('input');
    field.setAttribute('aria-label', 'field');
    document.body.prepend(field);
    for (const id of 'abc') await job(server.do, client, id);
    field.focus();
    await userEvent.keyboard('{Escape}');
    await until(() => toasts().length === 2);
    expect(document.activeElement).toBe(field);
    expect(texts().join()).not.toContain('Job c');
    await userEvent.keyboard('{Tab}');
    expect(document.activeElement?.getAttribute('aria-label')).toBe('Dismiss Job a');
    await userEvent.keyboard('{Escape}');
    await until(() => toasts().length === 1);
    expect(document.activeElement?.getAttribute('aria-label')).toBe('Dismiss Job b');
    await userEvent.keyboard('{Enter}');
    await until(() => toasts().length === 0);
    expect(document.activeElement).toBe(field);
  });

  test('toasts that come, change and go leave the focus where it is', async () => {
    const { client, server } = setup({ successMs: 100 });
    const field = document.createElement('input');
    document.body.prepend(field);
    field.focus();
    await job(server.do, client, 'a');
    await server.do({ put: { id: 'a', state: 'completed' } });
    await until(() => toasts().length === 0);
    expect(document.activeElement).toBe(field);
  });

  test('while a modal dialog is open the toasts are in it, and Escape is the dialog’s', async () => {
    const { client, server } = setup();
    const dialog = document.createElement('dialog');
    dialog.append(document.createElement('button'));
    document.body.append(dialog);
    await job(server.do, client, 'a');
    dialog.showModal();
    await until(() => dialog.querySelector(card) && dialog.contains(announcer()));
    await userEvent.keyboard('{Escape}');
    await until(() => !dialog.open);
    expect(toasts()).toHaveLength(1);
    await until(() => !dialog.querySelector(card));
  });

  test('a 32-step job makes at most 8 announcements: start, every fifth step, the end', async () => {
    // The three seconds between two announcements are left out, so that none hides another.
    const clock = vi.spyOn(performance, 'now');
    let skip = 0;
    const real = Performance.prototype.now.bind(performance);
    clock.mockImplementation(() => real() + skip);
    onTestFinished(() => clock.mockRestore());
    const { client, server } = setup();
    const said: string[] = [];
    const observer = new MutationObserver(() => said.push(announcer().textContent));
    observer.observe(document.body, { subtree: true, childList: true });
    const only = () => said.filter(Boolean);
    expect(announcer().textContent).toBe('');
    client.job('a').track();
    await server.do({ put: { id: 'a', title: 'Report', state: 'running', current: 0, total: 32 } });
    await until(() => announcer().textContent?.includes('started'));
    for (let n = 1; n <= 32; n++) {
      skip += 4000;
      await server.do({ put: { id: 'a', current: n, ...(n === 32 && { state: 'completed' }) } });
      await until(() => client.job('a').getSnapshot().current === n);
      if (n % 5 === 0) await until(() => announcer().textContent?.includes(`${n} of 32`));
      // Long enough for a step between to be said, if it were to be.
      if (n % 5 === 3) await pause(200);
    }
    await until(() => announcer().textContent?.includes('Complete'));
    observer.disconnect();
    expect(new Set(only()).size).toBe(8);
    expect(document.querySelector('[role=status] progress, [aria-live] progress')).toBeNull();
  }, 30_000);

  test('five such jobs at once make at most five announcements in ten seconds', async () => {
    const { client, server } = setup();
    let said = 0;
    const observer = new MutationObserver(() => said++);
    observer.observe(announcer(), { childList: true });
    const ids = [...'abcde'];
    for (const id of ids) client.job(id).track();
    for (let n = 0; n <= 32; n++) {
      const end = n === 32 && { state: 'completed' };
      await server.do(
        ...ids.map((id) => ({
          put: { id, title: id, state: 'running', current: n, total: 32, ...end },
        })),
      );
      await pause(300);
    }
    observer.disconnect();
    expect(said).toBeLessThanOrEqual(5);
    expect(said).toBeGreaterThan(1);
  }, 30_000);

  test('hostile strings are shown as they are, and links that could run code are not links', async () => {
    const { client, server } = setup();
    const evil = '<img src=x onerror="window.pwned=1"><b>bold</b>';
    const href = 'javascript:window.pwned=1';
    await job(server.do, client, 'a', { title: `Job a ${evil}`, message: evil });
    await server.do({ put: { id: 'a', state: 'completed', message: evil, output_url: href } });
    await server.do({
      notify: { id: 'n', title: evil, text: `${evil}\u202Eevil`, href, level: 'error' },
    });
    await until(() => toasts().length === 2);
    await until(() => toasts()[0]?.dataset.tone === 'success');
    expect(texts().every((text) => text.includes('<b>bold</b>'))).toBe(true);
    expect(document.querySelector(`${region} :is(img, b, a)`)).toBeNull();
    expect('pwned' in window).toBe(false);
  });

  test('axe finds nothing: empty, one, five, every tone, dark, narrow', async () => {
    const { client, server } = setup();
    await until(() => client.connection.getSnapshot().status === 'connected');
    expect(await violations()).toEqual([]);
    await job(server.do, client, 'a', { message: 'Generating', eta_seconds: 30 });
    expect(await violations()).toEqual([]);
    await job(server.do, client, 'b', { total: null });
    await job(server.do, client, 'c');
    await server.do({ put: { id: 'c', state: 'failed', error: { code: 'X_1', message: 'No' } } });
    await server.do({
      notify: { id: 'n1', title: 'Heed', text: 'This', level: 'warning', href: '/x' },
    });
    await server.do({ notify: { id: 'n2', title: 'Good', text: 'That', level: 'success' } });
    await until(() => toasts().length === 5);
    for (const scheme of ['light', 'dark']) {
      document.documentElement.style.colorScheme = scheme;
      document.body.style.background = scheme === 'dark' ? '#101114' : '#fff';
      expect(await violations()).toEqual([]);
    }
    document.documentElement.style.colorScheme = '';
    document.body.style.background = '';
    for (const bar of document.querySelectorAll('progress')) {
      const name = document.getElementById(bar.getAttribute('aria-labelledby') ?? '');
      expect(name?.textContent).toMatch(/Job/);
    }
    for (const button of document.querySelectorAll(`${region} button`)) {
      const { width, height } = button.getBoundingClientRect();
      expect(Math.min(width, height)).toBeGreaterThanOrEqual(24);
    }
    expect(document.documentElement.scrollWidth).toBeLessThanOrEqual(innerWidth);
  }, 30_000);

  test('a fresh notification is a toast in one tab; old news and information are none', async () => {
    const storage = memoryStorage();
    const { client: make, ...server } = room();
    clean();
    styled();
    await server.do({ notify: { id: 'old', title: 'Old news' } });
    for (const _ of [1, 2]) {
      const client = make({ storage, timing: quick });
      onTestFinished(attachToasts(client, { renderer: renderer() }));
      client.start();
      await until(() => client.notifications.getSnapshot().items.length === 1);
    }
    await server.do({ notify: { id: 'i', title: 'Just so you know', level: 'info' } });
    await server.do({ notify: { id: 'n', title: 'Ready', text: 'Your audio', href: '/s/9' } });
    await until(() => toasts().length > 0);
    await pause(300);
    expect(texts()).toHaveLength(1);
    expect(texts()[0]).toContain('Your audio');
  });

  test('open toasts survive a reload of the page, closed ones do not come back', async () => {
    const storage = memoryStorage();
    const { client: make, ...server } = room();
    clean();
    const open = () => {
      const client = make({ storage, timing: quick });
      const detach = attachToasts(client, { renderer: renderer() });
      client.start();
      return {
        client,
        leave() {
          client.close();
          detach();
        },
      };
    };
    const first = open();
    for (const id of ['keep', 'shut']) await job(server.do, first.client, id);
    await until(() => first.client.connection.getSnapshot().status === 'connected');
    await server.do({ notify: { id: 'e', title: 'Trouble', level: 'error' } });
    await until(() => toasts().length === 3);
    document.querySelector<HTMLElement>('[aria-label="Dismiss Job shut"]')?.click();
    first.leave();
    expect(toasts()).toHaveLength(0);

    const second = open();
    await until(() => toasts().length === 2);
    expect(texts().join()).toMatch(/Job keep/);
    expect(texts().join()).toMatch(/Trouble/);
    await server.do({ put: { id: 'keep', state: 'completed' } });
    await until(
      () => toasts()[0]?.dataset.tone === 'success' || toasts()[1]?.dataset.tone === 'success',
    );
    second.leave();
  });

  test('a toast that is open here tells the end, though another tab has told and closed it', async () => {
    const storage = memoryStorage();
    const { client, server } = setup({}, { storage });
    await job(server.do, client, 'a');
    // As another tab of this user does when its toast has left.
    void client.memory.claim('job:a:1:end');
    await server.do({ put: { id: 'a', state: 'completed', attempt: 1 } });
    await until(() => toasts()[0]?.dataset.tone === 'success');
  });

  test('two minutes without a server raise one error with a retry, which goes when it is back', async () => {
    const { client, server } = setup(
      {},
      { timing: { ...quick, lost: 100, backoff: [5000], idleBackoff: [5000] } },
    );
    await until(() => client.connection.getSnapshot().status === 'connected');
    await server.do({ faults: { stream: 503, changes: 503 } }, { drop: true });
    await until(() => texts()[0]?.includes('STREAM_DISCONNECTED'));
    await server.do({ faults: {} });
    toasts()[0]?.querySelector<HTMLElement>('.milepost-action')?.click();
    await until(() => toasts().length === 0);
  });

  test('a job that the page lets go of at its end has its toast, and no second one for its notification', async () => {
    const { client, server } = setup();
    const store = client.job('a');
    const drop = store.track();
    onTestFinished(
      store.subscribe(() => void (store.getSnapshot().state === 'completed' && drop())),
    );
    await server.do({ put: { id: 'a', title: 'Job a', state: 'running' } });
    await until(() => toasts().length === 1);
    const told = { id: 'n', title: 'Ready', context: { job_id: 'a' } };
    await server.do({ put: { id: 'a', state: 'completed' } }, { notify: told });
    await until(() => toasts()[0]?.dataset.tone === 'success');
    await server.do({ notify: { id: 'o', title: 'Another thing' } });
    await until(() => toasts().length === 2);
    expect(store.getSnapshot().tracked).toBe(false);
    expect(texts().join()).toMatch(/Job a.*Another thing|Another thing.*Job a/);
  });

  test('letting go of a running job takes its toast away; detaching takes everything', async () => {
    const { client, server, detach } = setup();
    const drop = client.job('x').track();
    await job(server.do, client, 'a');
    await server.do({ put: { id: 'x', title: 'Job x', state: 'running' } });
    await until(() => toasts().length === 2);
    drop();
    await until(() => toasts().length === 1);
    detach();
    expect(document.querySelector(`${region}, .milepost-announcer`)).toBeNull();
  });
});
