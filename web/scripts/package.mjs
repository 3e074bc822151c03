/**
 * Fails when the built package, as it would be published, has a defect that publint finds, or when one of its entries
 * does not resolve, with its types, in some way of importing it.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = await mkdtemp(join(tmpdir(), 'milepost-'));
try {
  const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', folder], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ filename }] = JSON.parse(packed);
  const tarball = await readFile(join(folder, filename));

  const { messages, pkg } = await publint({ pack: { tarball: tarball.buffer }, strict: true });
  for (const message of messages) console.log(`publint: ${formatMessage(message, pkg)}`);

  // It is for browsers and bundlers: ES modules only, which is said so, and no types in a style sheet.
  const { problems } = await checkPackage(createPackageFromTarballData(tarball), {
    excludeEntrypoints: ['./style.css'],
  });
  const wrong = problems.filter(
    ({ kind, resolutionKind }) => resolutionKind !== 'node10' && kind !== 'CJSResolvesToESM',
  );
  for (const problem of wrong) console.log(`types: ${JSON.stringify(problem)}`);

  if (messages.length || wrong.length) process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
