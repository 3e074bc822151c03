/** Builds the package into dist/ and hands what a plain page needs to the Python server. */
import { execFileSync } from 'node:child_process';
import { copyFile, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const web = fileURLToPath(new URL('..', import.meta.url));
const dist = `${web}dist`;
const served = fileURLToPath(new URL('../../src/milepost/server/static', import.meta.url));

/** What the package exports, each a file of its own; what several of them need they have together. */
const NAMES = [
  'analytics',
  'background',
  'elements',
  'htmx',
  'legacy',
  'notyf',
  'outbox',
  'react',
  'react-hot-toast',
  'share',
  'sonner',
  'ui',
];
const ENTRIES = {
  index: 'src/index.ts',
  ...Object.fromEntries(NAMES.map((name) => [name, `src/${name}/index.ts`])),
};

const bundle = (entry, fileName, format) =>
  build({
    root: web,
    configFile: false,
    logLevel: 'warn',
    build: {
      outDir: dist,
      emptyOutDir: false,
      target: 'es2022',
      minify: entry !== ENTRIES,
      sourcemap: entry === ENTRIES,
      // The minifier writes the value of a `const` where it is used, not that of a `var`.
      rolldownOptions: {
        external: ['react'],
        output: { topLevelVar: false, chunkFileNames: 'shared/[name].js' },
      },
      lib: { entry, formats: [format], name: 'Milepost', fileName },
    },
  });

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await bundle(ENTRIES, (_, name) => `${name}.js`, 'es');
await bundle('src/browser.ts', () => 'milepost.js', 'iife');
await bundle('src/browser.ts', () => 'milepost.mjs', 'es');
const sheets = ['ui/base', 'ui/toasts', 'ui/inbox', 'ui/progress', 'ui/motion', 'notyf/notyf'].map(
  (name) => readFile(`${web}src/${name}.css`, 'utf8'),
);
await writeFile(`${dist}/milepost.css`, (await Promise.all(sheets)).join('\n'));
execFileSync('npx', ['tsc', '-p', 'tsconfig.build.json'], { cwd: web, stdio: 'inherit' });
await rm(served, { recursive: true, force: true });
await mkdir(served, { recursive: true });
for (const file of ['milepost.js', 'milepost.mjs', 'milepost.css'])
  await copyFile(`${dist}/${file}`, `${served}/${file}`);
// What TypeScript finds beside milepost.mjs, and what `/// <reference>` gives a script that uses the global.
await cp(`${dist}/types`, `${served}/types`, { recursive: true });
for (const file of ['milepost.d.ts', 'milepost.d.mts'])
  await writeFile(
    `${served}/${file}`,
    "export * from './types/browser.js';\nexport as namespace Milepost;\n",
  );
console.log(`built ${dist} and copied what a page needs to ${served}`);
