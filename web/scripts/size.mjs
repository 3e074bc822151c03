/** Fails when an entry has grown over its budget (bytes of minified code, gzipped). */

import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

const BUDGETS = {
  'src/index.ts': 9000,
  'src/share/index.ts': 1200,
  'src/ui/index.ts': 6000,
  'src/analytics/index.ts': 1400,
  'src/background/index.ts': 1500,
  'src/htmx/index.ts': 1000,
  'src/notyf/index.ts': 3000,
  'src/outbox/index.ts': 2600,
  'src/react-hot-toast/index.ts': 2200,
  'src/sonner/index.ts': 2200,
};
const root = fileURLToPath(new URL('..', import.meta.url));

for (const [entry, budget] of Object.entries(BUDGETS)) {
  const result = await build({
    root,
    configFile: false,
    logLevel: 'silent',
    build: {
      write: false,
      target: 'es2022',
      minify: true,
      rolldownOptions: {
        input: entry,
        preserveEntrySignatures: 'strict',
        // As build.mjs has it.
        output: { topLevelVar: false },
      },
    },
  });
  const chunks = result.output.filter(({ type }) => type === 'chunk');
  const size = chunks.reduce((sum, { code }) => sum + gzipSync(code, { level: 9 }).length, 0);
  console.log(`${entry}: ${size} of ${budget} bytes gzipped`);
  if (size > budget) process.exitCode = 1;
}
