// Builds the console into a directory of its own, so that tests never touch the one a running platform serves.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

/** A fresh build, removed when disposed of. */
export function buildConsole(): Disposable & { readonly directory: string } {
  const directory = mkdtempSync(join(tmpdir(), 'heptad-console-'));
  const vite = join(ROOT, 'node_modules', '.bin', 'vite');
  execFileSync(vite, ['build', '--logLevel', 'error', '--emptyOutDir', '--outDir', directory], { cwd: ROOT });
  return { directory, [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }) };
}
