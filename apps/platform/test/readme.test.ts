import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';

const run = promisify(execFile);
const platform = join(import.meta.dirname, '..');
const root = join(platform, '..', '..');
// Inside the package, where its own name resolves to its own exports.
const workshop = join(platform, '.cache');
mkdirSync(workshop, { recursive: true });
afterAll(() => rmSync(workshop, { recursive: true, force: true }));

const readme = readFileSync(join(platform, 'README.md'), 'utf8');
const examples = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code ?? '');
const files = examples.map((code, index) => {
  const file = join(workshop, `example-${index + 1}.ts`);
  writeFileSync(file, `${code}\nexport {};\n`);
  return file;
});

it('has examples that compile', async () => {
  expect(files.length).toBeGreaterThan(1);
  const config = join(workshop, 'tsconfig.json');
  const compilerOptions = { isolatedDeclarations: false };
  writeFileSync(
    config,
    JSON.stringify({ extends: join(root, 'tsconfig.base.json'), compilerOptions, include: files }),
  );
  const tsc = join(root, 'node_modules', '.bin', 'tsc');
  const { stdout } = await run(tsc, ['--noEmit', '--pretty', 'false', '-p', config]).catch(
    (error: { stdout: string }) => error,
  );
  // Of the sources that they import others take care.
  expect(stdout.split('\n').filter((line) => line.includes('example-'))).toEqual([]);
});

it('has a first example that runs and prints what it says', async () => {
  const { stdout } = await run(process.execPath, ['--conditions=heptad-source', files[0] ?? ''], {
    timeout: 180_000,
  });
  const promised = [...(examples[0] ?? '').matchAll(/console\.log\(.*\); \/\/ (.+)$/gm)].map(
    ([, text]) => text,
  );
  expect(stdout.trim().split('\n')).toEqual(promised);
}, 180_000);
