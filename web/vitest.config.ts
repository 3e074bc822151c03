import { playwright } from '@vitest/browser-playwright';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // A dependency found in the middle of a run would reload the page under the tests.
  optimizeDeps: {
    include: ['axe-core', 'fast-check', 'eventsource-parser', 'eventsource-encoder'],
  },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/fixture/setup.ts'],
    testTimeout: 15_000,
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      instances: [{ browser: 'chromium' }],
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
