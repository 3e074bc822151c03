import { createElement } from 'react';
import { createRoot } from 'react-dom/client';
import hotToast, { Toaster as HotToaster } from 'react-hot-toast';
import { Toaster, toast } from 'sonner';
import { describe, expect, onTestFinished, test } from 'vitest';
import { userEvent } from 'vitest/browser';
import { hotToasts } from '../../src/react-hot-toast/index.ts';
import { sonnerToasts } from '../../src/sonner/index.ts';
import { attachToasts } from '../../src/ui/index.ts';
import { room, until } from '../fixture/room.ts';
import { clean, styled } from '../fixture/style.ts';

let run = 0;

const FRAMES = [
  {
    name: 'sonner',
    toaster: () => createElement(Toaster, { expand: true }),
    renderer: () => sonnerToasts(toast, createElement),
    // It keeps what leaves in the page until its animation is over.
    card: '[data-sonner-toast][data-removed=false] .milepost-hosted',
  },
  {
    name: 'react-hot-toast',
    toaster: () => createElement(HotToaster),
    renderer: () => hotToasts(hotToast, createElement),
    card: '.milepost-hosted',
  },
];

describe.each(FRAMES)('in the frame of $name', ({ toaster, renderer, card }) => {
  const cards = () => [...document.querySelectorAll<HTMLElement>(card)];
  const texts = () => cards().map(({ textContent }) => textContent);

  async function setup(successMs = 60_000) {
    clean();
    styled();
    // What these libraries remember of a toast outlives their elements.
    hotToast.removeAll();
    run += 1;
    const { client: make, ...server } = room();
    const root = createRoot(document.body.appendChild(document.createElement('div')));
    root.render(toaster());
    onTestFinished(() => root.unmount());
    const client = make();
    onTestFinished(attachToasts(client, { renderer: renderer(), successMs }));
    client.start();
    const job = async (name: string, fields: object) => {
      const id = `${name}${run}`;
      await server.do({ put: { id, title: `Job ${name}`, state: 'running', ...fields } });
    };
    return { track: (name: string) => client.job(name + run).track(), job };
  }

  test('a job is one toast: its bar goes on in place, then it is a success with its link', async () => {
    const { track, job } = await setup();
    track('a');
    await job('a', { current: 0, total: null });
    const [element] = await until(() => cards().length === 1 && cards());
    const bar = element?.querySelector('progress') as HTMLProgressElement;
    expect(bar.hasAttribute('value')).toBe(false);
    await job('a', { current: 2, total: 8 });
    await until(() => bar.value === 2);
    expect(bar.isConnected).toBe(true);
    expect(document.getElementById(bar.getAttribute('aria-labelledby') ?? '')?.textContent).toBe(
      'Job a',
    );
    await job('a', { current: 8, state: 'completed', output_url: '/out.zip' });
    const link = await until(() => document.querySelector(`${card} a`));
    expect(link.getAttribute('href')).toBe('/out.zip');
    expect(document.querySelectorAll(`${card} progress`)).toHaveLength(0);
    expect(cards()).toHaveLength(1);
  });

  test('each is dismissed by its own button, and does not come back', async () => {
    const { track, job } = await setup();
    for (const id of ['a', 'b']) {
      track(id);
      await job(id, { current: 1, total: 8 });
    }
    await until(() => cards().length === 2);
    document.querySelector<HTMLElement>('[aria-label="Dismiss Job a"]')?.click();
    await until(() => cards().length === 1);
    await job('a', { current: 2 });
    await job('b', { current: 2 });
    await until(() => texts()[0]?.includes('2 of 8'));
    expect(texts()).toHaveLength(1);
    expect(texts()[0]).toContain('Job b');
  });

  test('a success leaves by itself, but not while pointed at; a failure stays', async () => {
    const { track, job } = await setup(400);
    for (const id of ['a', 'b']) track(id);
    await job('a', { current: 1, total: 8 });
    await until(() => cards().length === 1);
    await job('b', { state: 'failed', error: { code: 'TEMPLATE_ERROR', message: 'line 4' } });
    await until(() => cards().length === 2);
    const success = document.querySelector('[aria-label="Dismiss Job a"]') as HTMLElement;
    await userEvent.hover(success);
    await job('a', { current: 8, state: 'completed' });
    await until(() => texts().join().includes('Complete'));
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(cards()).toHaveLength(2);
    await userEvent.unhover(success);
    await until(() => cards().length === 1);
    expect(texts()[0]).toContain('TEMPLATE_ERROR');
  });

  test('hostile strings are text', async () => {
    const { track, job } = await setup();
    track('a');
    await job('a', { title: '<img src=x onerror="window.pwned=1">', output_url: 'javascript:0' });
    await until(() => texts()[0]?.includes('<img'));
    await job('a', { state: 'completed' });
    await until(() => texts()[0]?.includes('Complete'));
    expect(document.querySelector(`${card} :is(img, a)`)).toBeNull();
    expect('pwned' in window).toBe(false);
  });
});
