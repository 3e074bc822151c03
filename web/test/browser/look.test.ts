import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { commands, page } from 'vitest/browser';
import { attachBell, attachToasts } from '../../src/ui/index.ts';
import { violations } from '../fixture/axe.ts';
import { LOOKS } from '../fixture/looks.ts';
import { room, until } from '../fixture/room.ts';
import { clean, styled } from '../fixture/style.ts';

describe.each(LOOKS)('$name', ({ renderer, card }) => {
  const toasts = () => [...document.querySelectorAll<HTMLElement>(card)];
  const find = (selector: string) => document.querySelector(selector) as HTMLElement;
  /** Everything that a person or their system may have chosen. */
  const MODES: Record<string, () => unknown> = {
    'as it comes': () => {},
    dark: () => {
      document.documentElement.style.colorScheme = 'dark';
      document.body.style.background = '#101114';
    },
    'on 320 pixels': () => page.viewport(320, 640),
    'with text of double size': () => {
      document.documentElement.style.fontSize = '200%';
    },
    'in forced colours': () => commands.emulate({ forcedColors: 'active' }),
    'with less motion': () => commands.emulate({ reducedMotion: 'reduce' }),
    'from right to left': () => {
      document.documentElement.dir = 'rtl';
    },
  };

  const none = { reducedMotion: null, forcedColors: null, colorScheme: null } as const;

  beforeEach(async () => {
    clean();
    styled();
    await page.viewport(1000, 700);
  });
  afterEach(async () => {
    await commands.emulate(none);
    await page.viewport(414, 896);
  });

  /** A page with an open inbox and a toast of every tone. */
  async function full() {
    const { client: make, ...server } = room();
    const client = make({ timing: { backoff: [10] } });
    const place = document.createElement('div');
    document.body.append(place);
    const level = ['info', 'warning', 'error', 'success'];
    for (const [n, l] of level.entries())
      await server.do({
        notify: { id: l, title: `A ${l}`, text: `Text ${n}`, level: l, href: '/x' },
      });
    for (const id of 'abc') client.job(id).track();
    const error = {
      code: 'TEMPLATE_ERROR',
      message: 'a_name_that_is_far_too_long_to_fit_'.repeat(4),
    };
    await server.do(
      { put: { id: 'a', title: 'Known', state: 'running', current: 3, total: 9, eta_seconds: 9 } },
      { put: { id: 'b', title: 'Unknown', state: 'running', current: 3, total: null } },
      { put: { id: 'c', title: 'Broken', state: 'failed', error } },
    );
    onTestFinished(attachToasts(client, { renderer: renderer() }));
    onTestFinished(attachBell(client, place));
    client.start();
    await until(() => toasts().length === 3);
    find('.milepost-bell').click();
    await until(() => document.querySelectorAll('.milepost-inbox-list > li').length === 4);
    return { client, server };
  }

  test.each(Object.keys(MODES))(
    '%s, axe finds nothing: no toast, one, five, the inbox',
    async (mode) => {
      await MODES[mode]?.();
      onTestFinished(() => {
        document.documentElement.removeAttribute('style');
        document.documentElement.removeAttribute('dir');
        document.body.removeAttribute('style');
      });
      const { client: make, ...server } = room();
      const client = make();
      const place = document.body.appendChild(document.createElement('div'));
      onTestFinished(attachToasts(client, { renderer: renderer(), successMs: 60_000 }));
      onTestFinished(attachBell(client, place));
      client.start();
      await until(() => client.connection.getSnapshot().status === 'connected');
      const look = async (count: number) => {
        await until(() => toasts().length === count);
        expect(await violations()).toEqual([]);
        for (const bar of document.querySelectorAll('progress')) {
          const title = document.getElementById(bar.getAttribute('aria-labelledby') ?? '');
          expect(title?.textContent).toMatch(/^Job/);
        }
        expect(document.documentElement.scrollWidth).toBeLessThanOrEqual(innerWidth);
        expect(document.querySelector(':is([aria-live], [role=status]) progress')).toBeNull();
      };
      await look(0);
      for (const id of 'abcd') client.job(id).track();
      const bar = { state: 'running', current: 3, total: 9, eta_seconds: 9, message: 'Writing' };
      await server.do({ put: { id: 'a', title: 'Job a', ...bar } });
      await look(1);
      await server.do(
        { put: { id: 'b', title: 'Job b', state: 'running', current: 3, total: null } },
        {
          put: { id: 'c', title: 'Job c', state: 'failed', error: { code: 'X_1', message: 'No' } },
        },
        { put: { id: 'd', title: 'Job d', state: 'completed', output_url: '/x' } },
        { notify: { id: 'n', title: 'Heed', text: 'This', level: 'warning', href: '/x' } },
      );
      await look(5);
      find('.milepost-bell').click();
      await until(() => document.querySelectorAll('.milepost-inbox-list > li').length === 1);
      await look(5);
    },
  );

  test('with less motion nothing moves, and what is closed leaves at once', async () => {
    await commands.emulate({ reducedMotion: 'reduce' });
    await full();
    expect(document.getAnimations()).toEqual([]);
    document.querySelector<HTMLElement>('[aria-label="Dismiss Known"]')?.click();
    expect(toasts()).toHaveLength(2);
    expect(await violations()).toEqual([]);
  });

  test('with forced colours every toast has an edge, a mark and a visible bar', async () => {
    await commands.emulate({ forcedColors: 'active' });
    await full();
    for (const toast of toasts()) {
      expect(getComputedStyle(toast).borderStyle).toBe('solid');
      const glyph = toast.querySelector('.milepost-close path') as Element;
      expect(getComputedStyle(glyph).stroke).not.toBe('none');
    }
    for (const bar of document.querySelectorAll('progress'))
      expect(getComputedStyle(bar).borderStyle).toBe('solid');
    expect(await violations()).toEqual([]);
  });

  test('at 320 pixels, and with text twice as large, nothing sticks out and nothing scrolls sideways', async () => {
    await page.viewport(320, 640);
    await full();
    for (const size of ['100%', '200%']) {
      document.documentElement.style.fontSize = size;
      dispatchEvent(new Event('resize'));
      expect(document.documentElement.scrollWidth).toBeLessThanOrEqual(320);
      for (const box of [...toasts(), find('.milepost-inbox')]) {
        const { left, right } = box.getBoundingClientRect();
        expect(left).toBeGreaterThanOrEqual(0);
        expect(right).toBeLessThanOrEqual(320);
        expect(box.scrollWidth).toBeLessThanOrEqual(box.clientWidth + 1);
      }
    }
    document.documentElement.style.fontSize = '';
    expect(await violations()).toEqual([]);
  });

  test.each([
    [1000, 700],
    [320, 640],
  ])('at %i by %i, nothing that has the focus is covered by the toasts', async (width, height) => {
    await page.viewport(width, height);
    const filled = document.createElement('div');
    filled.style.cssText = 'position:fixed;inset:0;display:grid;grid:repeat(20,1fr)/repeat(8,1fr)';
    for (let n = 0; n < 160; n++) filled.append(document.createElement('button'));
    document.body.prepend(filled);
    const { client: make, ...server } = room();
    const client = make();
    onTestFinished(attachToasts(client, { renderer: renderer() }));
    for (const id of 'abcde') client.job(id).track();
    // The last one is under them when they come.
    (filled.lastChild as HTMLElement).focus();
    client.start();
    for (const id of 'abcde')
      await server.do({ put: { id, title: id, state: 'running', current: 1, total: 2 } });
    await until(() => toasts().length === 5);
    let moved = 0;
    /** Any of it. */
    const seen = (element: Element) => {
      const { left, right, top, bottom } = element.getBoundingClientRect();
      for (let x = left + 1; x < right; x += 2)
        for (let y = top + 1; y < bottom; y += 2)
          if (document.elementFromPoint(x, y) === element) return true;
      return false;
    };
    expect(seen(document.activeElement as Element)).toBe(true);
    for (const button of filled.children) {
      (button as HTMLElement).focus();
      expect(seen(button)).toBe(true);
      if (find('[style*=max-block-size]')) moved += 1;
    }
    // Only where they have to.
    expect(moved).toBeGreaterThan(0);
    expect(moved).toBeLessThan(filled.children.length);
  });

  test('in a right-to-left page everything is mirrored', async () => {
    await full();
    const middle = () => {
      const { left, right } = (toasts()[0] as HTMLElement).getBoundingClientRect();
      return (left + right) / 2;
    };
    expect(middle()).toBeGreaterThan(innerWidth / 2);
    document.documentElement.dir = 'rtl';
    onTestFinished(() => document.documentElement.removeAttribute('dir'));
    expect(middle()).toBeLessThan(innerWidth / 2);
    const toast = toasts()[0] as HTMLElement;
    const x = (selector: string) => toast.querySelector(selector)?.getBoundingClientRect().x ?? 0;
    expect(x('.milepost-close')).toBeLessThan(x('.milepost-mark'));
    expect(await violations()).toEqual([]);
  });

  test('a page’s own plain rules do not take the pieces apart', async () => {
    const style = document.createElement('style');
    style.textContent = `
    div, section, li, span { display: flex; } p { margin: 3em; } ul { padding: 5em; list-style: disc; }
    button { background: red; border: 9px solid; } a { text-decoration: line-through; }`;
    document.head.prepend(style);
    onTestFinished(() => style.remove());
    await full();
    const box = find('.milepost-inbox').getBoundingClientRect();
    for (const row of document.querySelectorAll('.milepost-inbox-list > li'))
      expect(row.getBoundingClientRect().width).toBeGreaterThan(box.width - 4);
    expect(getComputedStyle(find('.milepost-close')).borderStyle).toBe('none');
    expect(getComputedStyle(find(`${card} .milepost-title`)).margin).toBe('0px');
  });
});
