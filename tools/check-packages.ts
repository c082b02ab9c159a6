// Package health: every published package, packed as npm would get it, satisfies publint and Are-the-types-wrong.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** The platform is ESM only: a program first, its library face for ESM programs of Node 24. */
const ESM_ONLY = join(root, 'apps/platform');
const published = [
  ...readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name)),
  ESM_ONLY,
];

let failures = 0;
function run(label: string, command: string, args: readonly string[], cwd: string): void {
  const result = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (result.status === 0) return;
  failures += 1;
  process.stdout.write(`${label} failed:\n${result.stdout}${result.stderr}\n`);
}

for (const directory of published) {
  const packed = mkdtempSync(join(tmpdir(), 'heptad-pack-'));
  try {
    const pack = spawnSync('pnpm', ['pack', '--pack-destination', packed], {
      cwd: directory,
      encoding: 'utf8',
    });
    const tarball = readdirSync(packed).find((name) => name.endsWith('.tgz'));
    if (pack.status !== 0 || tarball === undefined) {
      failures += 1;
      process.stdout.write(`pnpm pack failed in ${directory}:\n${pack.stdout}${pack.stderr}\n`);
      continue;
    }
    run(`publint ${directory}`, 'publint', ['run', '--strict', join(packed, tarball)], directory);
    run(
      `attw ${directory}`,
      'attw',
      [
        join(packed, tarball),
        '--profile',
        directory === ESM_ONLY ? 'esm-only' : 'node16',
        '--format',
        'ascii',
      ],
      directory,
    );
  } finally {
    rmSync(packed, { recursive: true, force: true });
  }
}
process.stdout.write(
  failures === 0 ? `${published.length} packages are healthy\n` : `${failures} checks failed\n`,
);
process.exit(failures === 0 ? 0 : 1);
