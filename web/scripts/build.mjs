/** Builds the package into dist/ and hands what a plain page needs to the Python server. */
import { execFileSync } from 'node:child_process';
import { copyFile, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const web = fileURLToPath(new URL('..', import.meta.url));
const dist = `${web}dist`;
const served = fileURLToPath(new URL('../../src/milepost/server/static', import.meta.url));

const bundle = (entry, fileName, format) =>
  build({
    root: web,
    configFile: false,
    logLevel: 'warn',
    build: {
      outDir: dist,
      emptyOutDir: false,
      target: 'es2022',
      minify: format === 'iife' || fileName.endsWith('.mjs'),
      sourcemap: format === 'es' && !fileName.endsWith('.mjs'),
      // The minifier writes the value of a `const` where it is used, not that of a `var`.
      rolldownOptions: { output: { topLevelVar: false } },
      lib: { entry, formats: [format], name: 'Milepost', fileName: () => fileName },
    },
  });

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await bundle('src/index.ts', 'index.js', 'es');
await bundle('src/share/index.ts', 'share.js', 'es');
await bundle('src/ui/index.ts', 'ui.js', 'es');
await bundle('src/legacy/index.ts', 'legacy.js', 'es');
await bundle('src/browser.ts', 'milepost.js', 'iife');
await bundle('src/browser.ts', 'milepost.mjs', 'es');
const sheets = ['base', 'toasts', 'inbox', 'motion'].map((name) =>
  readFile(`${web}src/ui/${name}.css`, 'utf8'),
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
