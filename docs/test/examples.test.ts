// What the documentation shows compiles, and what a reader would run runs, against the real packages.

import { execFile } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { exampleSnippets, markdownSnippets, root, type Snippet } from './snippets.ts';

const run = promisify(execFile);
/** A platform boots, builds an image and starts containers within this, with room for a busy machine. */
const RUN_TIMEOUT_MS = 180_000;

// Inside docs/, so that @heptad/* resolve as for any user of the packages.
mkdirSync(join(root, 'docs', '.cache'), { recursive: true });
const workshop = mkdtempSync(join(root, 'docs', '.cache', 'snippets-'));
afterAll(() => rmSync(workshop, { recursive: true, force: true }));

const readmes = globSync(`${root}packages/*/README.md`).sort();
const snippets: Snippet[] = [
  ...globSync(`${root}packages/*/src/**/*.ts`)
    .filter((file) => !file.endsWith('.test.ts'))
    .sort()
    .flatMap(exampleSnippets),
  ...[...readmes, `${root}README.md`, ...globSync(`${root}docs/{guides,concepts}/*.md`).sort()].flatMap(
    markdownSnippets,
  ),
];

/** Writes a snippet so that its line numbers are those of its source. */
function place(snippet: Snippet): string {
  const name = `${snippet.source.replace(/[^\w.-]+/g, '__')}.${snippet.line}.ts`;
  const file = join(workshop, name);
  writeFileSync(file, `${'\n'.repeat(snippet.line - 1)}${snippet.code}\nexport {};\n`);
  return file;
}

describe('documentation', () => {
  it('has examples in every package', () => {
    const packages = new Set(snippets.map(({ source }) => source.split('/')[1]));
    for (const readme of readmes) expect(packages).toContain(readme.split('/').at(-2));
    expect(snippets.length).toBeGreaterThan(20);
  });

  it('compiles: every @example, every ts block of the READMEs and guides, every program of docs/examples', async () => {
    const files = snippets.map(place);
    const config = join(workshop, 'tsconfig.json');
    const compilerOptions = { isolatedDeclarations: false };
    const include = [...files, join(root, 'docs', 'examples', '*.ts')];
    writeFileSync(config, JSON.stringify({ extends: `${root}tsconfig.base.json`, compilerOptions, include }));
    const { stdout } = await run(join(root, 'node_modules', '.bin', 'tsc'), [
      '--noEmit',
      '--pretty',
      'false',
      '-p',
      config,
    ]).catch((error: { stdout: string }) => error);
    const problems = stdout
      .split('\n')
      .filter((line) => line.includes('error TS'))
      .map((line) =>
        line.replace(
          /^.*\/([^/]*)\.\d+\.ts\((\d+),/,
          (_, name: string, at: string) => `${name.replaceAll('__', '/')}:${at}:`,
        ),
      );
    expect(problems).toEqual([]);
  });
});

async function runFile(file: string): Promise<string> {
  const { stdout } = await run(process.execPath, ['--conditions=heptad-source', file], {
    timeout: RUN_TIMEOUT_MS,
    cwd: workshop,
  });
  return stdout;
}

describe('docs/examples', () => {
  const files = globSync(`${root}docs/examples/*.ts`).sort();
  it.each(files.map((file) => [basename(file), file]))(
    '%s runs',
    async (_name, file) => {
      const output = await runFile(file);
      expect(output.trim().split('\n').length).toBeGreaterThan(2);
    },
    RUN_TIMEOUT_MS,
  );
});

describe('the first example of each README', () => {
  it.each(readmes.map((readme) => [readme.split('/').at(-2), readme]))(
    '%s runs',
    async (_name, readme) => {
      const [first] = markdownSnippets(readme ?? '');
      if (first === undefined) throw new Error(`${readme} shows no TypeScript`);
      const output = await runFile(place(first));
      expect(output.trim()).not.toBe('');
    },
    RUN_TIMEOUT_MS,
  );
});
