/**
 * Builds the examples' pages: every `examples/NAME/page/main.tsx` becomes `built/main.js` beside it, and what a page uses
 * of others is copied there. `--react=18` builds with that major, `--development` with React's own checks and StrictMode's
 * double effects, `--out=FOLDER` into FOLDER/NAME, for tests.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'vite';

const web = fileURLToPath(new URL('..', import.meta.url));
const examples = fileURLToPath(new URL('../../examples/', import.meta.url));
const { values } = parseArgs({
  options: {
    react: { type: 'string' },
    development: { type: 'boolean' },
    out: { type: 'string' },
  },
});
const mode = values.development ? 'development' : 'production';
const suffix = values.react ? `-${values.react}` : '';

/** What a page includes of another's as it is, with a line that says whose it is. */
const COPIED = {
  activity: ['htmx.org', { 'dist/htmx.min.js': 'htmx.js' }],
  documents: ['notyf', { 'notyf.min.js': 'notyf.js', 'notyf.min.css': 'notyf.css' }],
};

for (const name of await readdir(examples)) {
  const page = `${examples}${name}/page`;
  const files = await readdir(page).catch(() => []);
  const copied = COPIED[name];
  if (!files.includes('main.tsx') && !(copied && files.length)) continue;
  const place = values.out ? `${values.out}/${name}` : `${examples}${name}/built`;
  // Beside it first: a page that is open, or a test, misses its script for no longer than a rename takes.
  const out = `${place}.new`;
  await rm(out, { recursive: true, force: true });
  await mkdir(out, { recursive: true });
  if (copied) {
    const [library, names] = copied;
    const read = (file) => readFile(`${web}node_modules/${library}/${file}`, 'utf8');
    const { version, license } = JSON.parse(await read('package.json'));
    for (const [from, to] of Object.entries(names))
      await writeFile(
        `${out}/${to}`,
        `/*! ${library} ${version}, ${license} */\n${await read(from)}`,
      );
  }
  if (files.includes('main.tsx')) await bundle(page, out);
  await rm(place, { recursive: true, force: true });
  await rename(out, place);
}
console.log(`built the examples' pages`);

function bundle(page, out) {
  return build({
    root: page,
    configFile: false,
    logLevel: 'warn',
    define: { 'process.env.NODE_ENV': JSON.stringify(mode) },
    resolve: {
      alias: [
        { find: /^milepost$/, replacement: `${web}src/index.ts` },
        { find: /^milepost\/(.+)$/, replacement: `${web}src/$1/index.ts` },
        { find: /^(react|react-dom)(\/.+)?$/, replacement: `${web}node_modules/$1${suffix}$2` },
      ],
    },
    build: {
      outDir: out,
      emptyOutDir: false,
      target: 'es2022',
      lib: { entry: `${page}/main.tsx`, formats: ['es'], fileName: () => 'main.js' },
    },
  });
}
