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
  'src/htmx/index.ts': 1250,
  'src/notyf/index.ts': 3000,
  'src/outbox/index.ts': 2600,
  'src/react-hot-toast/index.ts': 2200,
  'src/sonner/index.ts': 2200,
};
/** What all of an entry adds to a page that has the core and `ui`. React is the page's. */
const BESIDE = { 'src/elements/index.ts': 1700, 'src/react/index.ts': 1500 };
const root = fileURLToPath(new URL('..', import.meta.url));
const PAGE = 'virtual:page';

/** Chunks of the minified `input`; of `PAGE`, its text is `page`. */
async function bundle(input, page = '') {
  const { output } = await build({
    root,
    configFile: false,
    logLevel: 'silent',
    plugins: [
      {
        name: 'page',
        resolveId: (id) => (id === PAGE ? id : null),
        load: (id) => (id === PAGE ? page : null),
      },
    ],
    build: {
      write: false,
      target: 'es2022',
      minify: true,
      rolldownOptions: {
        input,
        external: ['react'],
        preserveEntrySignatures: 'strict',
        // As build.mjs has it.
        output: { topLevelVar: false },
      },
    },
  });
  return output.filter(({ type }) => type === 'chunk');
}

const gzipped = (chunks) =>
  chunks.reduce((sum, { code }) => sum + gzipSync(code, { level: 9 }).length, 0);

/** The size of a page that uses whatever these entries export. */
async function pageWith(entries) {
  const imports = [];
  const used = [];
  for (const entry of entries) {
    const [{ exports }] = await bundle(entry);
    imports.push(`import { ${exports.join(', ')} } from '${root}${entry}';`);
    used.push(...exports);
  }
  return gzipped(await bundle(PAGE, `${imports.join('\n')}\nexport default [${used.join(', ')}];`));
}

function report(entry, size, budget) {
  console.log(`${entry}: ${size} of ${budget} bytes gzipped`);
  if (size > budget) process.exitCode = 1;
}

for (const [entry, budget] of Object.entries(BUDGETS))
  report(entry, gzipped(await bundle(entry)), budget);

const without = ['src/index.ts', 'src/ui/index.ts'];
for (const [entry, budget] of Object.entries(BESIDE))
  report(entry, (await pageWith([...without, entry])) - (await pageWith(without)), budget);
