import { readFile } from 'node:fs/promises';
import { playwright } from '@vitest/browser-playwright';
import { defineConfig, type Plugin } from 'vitest/config';
import type { BrowserCommand, BrowserCommandContext } from 'vitest/node';

type Media = Parameters<BrowserCommandContext['page']['emulateMedia']>[0];

/** What the user's system asks for: dark colours, less motion, forced colours. */
const emulate: BrowserCommand<[Media]> = ({ page }, media) => page.emulateMedia(media);

declare module 'vitest/browser' {
  interface BrowserCommands {
    emulate(media: Media): Promise<void>;
  }
}

/** `docs:NAME.tsx`: all ```tsx blocks of docs/NAME.md as one module, with the package as it is here. */
const docs: Plugin = {
  name: 'docs',
  resolveId: (id) => (id.startsWith('docs:') ? id : null),
  async load(id) {
    const [, name] = /^docs:(\w+)\.tsx$/.exec(id) ?? [];
    if (!name) return null;
    const page = await readFile(new URL(`../docs/${name}.md`, import.meta.url), 'utf8');
    return [...page.matchAll(/^```tsx\n(.*?)^```$/gms)]
      .map(([, code = '']) => code)
      .join('')
      .replaceAll("'milepost/style.css'", "'/src/ui/base.css'")
      .replaceAll(/'milepost\/(\w+)'/g, "'/src/$1/index.ts'")
      .replaceAll('"https://live.example"', '{globalThis.server}');
  },
};

/** What runs once more with the older React. */
const REACT = 'test/browser/react*.test.tsx';

export default defineConfig({
  plugins: [docs],
  // A dependency found in the middle of a run would reload the page under the tests.
  optimizeDeps: {
    include: [
      'axe-core',
      'fast-check',
      'eventsource-parser',
      'eventsource-encoder',
      'notyf',
      'react',
      'react/jsx-dev-runtime',
      'react-dom/client',
      'react-dom/server',
      'react-hot-toast',
      'sonner',
    ],
  },
  test: {
    projects: [
      {
        extends: true,
        test: { name: 'react 19', include: ['test/**/*.test.ts', REACT] },
      },
      {
        extends: true,
        resolve: { alias: { react: 'react-18', 'react-dom': 'react-dom-18' } },
        test: { name: 'react 18', include: [REACT], sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: { name: 'server', include: ['test/server/*.test.tsx'], browser: { enabled: false } },
      },
    ],
    globalSetup: ['test/fixture/setup.ts'],
    // A machine may be several times slower than it is when nobody else uses it.
    testTimeout: 40_000,
    // The pointer, the focus and the emulated media are the page's, not a file's.
    fileParallelism: false,
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      instances: [{ browser: 'chromium' }],
      commands: { emulate },
      provider: playwright({
        launchOptions: {
          executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
          args: [
            '--no-sandbox',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
            '--no-first-run',
            '--disable-gpu',
            '--disable-quic',
          ],
        },
      }),
    },
  },
});
