/** Builds the package into dist/ and hands the three files of a plain page to the Python server. */
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
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
      sourcemap: true,
      lib: { entry, formats: [format], name: 'Milepost', fileName: () => fileName },
    },
  });

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await bundle('src/index.ts', 'index.js', 'es');
await bundle('src/ui/index.ts', 'ui.js', 'es');
await bundle('src/browser.ts', 'milepost.js', 'iife');
await bundle('src/browser.ts', 'milepost.mjs', 'es');
const sheets = ['base', 'toasts', 'inbox', 'motion'].map((name) =>
  readFile(`${web}src/ui/${name}.css`, 'utf8'),
);
await writeFile(`${dist}/milepost.css`, (await Promise.all(sheets)).join('\n'));
await mkdir(served, { recursive: true });
for (const file of ['milepost.js', 'milepost.mjs', 'milepost.css'])
  await copyFile(`${dist}/${file}`, `${served}/${file}`);
console.log(`built ${dist} and copied milepost.js, milepost.mjs, milepost.css to ${served}`);
