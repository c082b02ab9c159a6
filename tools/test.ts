// `npm test`: everything CI demands, from set-up to browser, ending with one line: N passed, N failed.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureSystemPackages, TEST_PACKAGES } from './system.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const results = join(root, '.cache', 'test-results');

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
const failedStages: string[] = [];

function stage(name: string, command: string, args: readonly string[]): boolean {
  process.stdout.write(`\n=== ${name} ===\n`);
  const started = process.hrtime.bigint();
  const run = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  const seconds = Number((process.hrtime.bigint() - started) / 1_000_000n) / 1000;
  const ok = run.status === 0;
  process.stdout.write(
    `--- ${name}: ${ok ? 'ok' : `FAILED (exit ${run.status ?? run.signal})`} in ${seconds.toFixed(1)} s\n`,
  );
  if (!ok) failedStages.push(name);
  return ok;
}

/** A stage that is one test: it passes or fails as a whole. */
function check(name: string, command: string, args: readonly string[]): void {
  if (stage(name, command, args)) tally.passed += 1;
  else tally.failed += 1;
}

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
}

/** A vitest project; every test counts. A run that leaves no report counts as one failure. */
function vitest(project: string): void {
  const report = join(results, `${project}.json`);
  const ok = stage(`${project} tests`, 'vitest', [
    'run',
    '--project',
    project,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ]);
  if (!existsSync(report)) {
    tally.failed += 1;
    return;
  }
  const counts: VitestReport = JSON.parse(readFileSync(report, 'utf8'));
  tally.passed += counts.numPassedTests;
  tally.failed += counts.numFailedTests;
  tally.skipped += counts.numPendingTests + counts.numTodoTests;
  // A file that cannot be loaded, or an unhandled error, fails the run without failing a test.
  if (!ok && counts.numFailedTests === 0) tally.failed += 1;
}

rmSync(results, { recursive: true, force: true });
mkdirSync(results, { recursive: true });

const missing = ensureSystemPackages(TEST_PACKAGES);
if (missing.length > 0) {
  process.stdout.write(
    `missing system packages: ${missing.join(' ')}; tests that need them are skipped with the reason\n`,
  );
  if (process.env.CI === 'true') {
    tally.failed += 1;
    failedStages.push(`system packages (${missing.join(' ')})`);
  }
}

check('lint and format', 'biome', ['check', '.']);
check('boundaries', process.execPath, ['tools/boundaries/main.ts']);
check('types', 'turbo', ['run', 'check:types', '--output-logs=errors-only']);
check('build', 'turbo', ['run', 'build', '--output-logs=errors-only']);
check('package health', process.execPath, ['tools/check-packages.ts']);
vitest('unit');
vitest('integration');
vitest('e2e');
check('docs', 'pnpm', ['run', 'docs:build']);

if (failedStages.length > 0) process.stdout.write(`\nfailed: ${failedStages.join('; ')}\n`);
process.stdout.write(
  `\n${tally.passed} passed, ${tally.failed} failed${tally.skipped > 0 ? `, ${tally.skipped} skipped` : ''}\n`,
);
process.exit(tally.failed === 0 ? 0 : 1);
