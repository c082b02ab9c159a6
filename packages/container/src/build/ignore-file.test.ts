// Patterns of .dockerignore, as Docker reads them.

import { describe, expect, it } from 'vitest';
import { IgnoreFile } from './ignore-file.ts';

const cases: readonly [text: string, path: string, excluded: boolean][] = [
  ['node_modules', 'node_modules', true],
  ['node_modules', 'node_modules/a/b.js', true],
  ['node_modules', 'packages/a/node_modules', false],
  ['**/node_modules', 'packages/a/node_modules/b.js', true],
  ['**/node_modules', 'node_modules', true],
  ['/dist/', 'dist/x', true],
  ['./dist', 'dist', true],
  ['*.md', 'README.md', true],
  ['*.md', 'docs/README.md', false],
  ['**/*.md', 'docs/deep/README.md', true],
  ['*/temp*', 'some/temporary.txt', true],
  ['*/*/temp*', 'some/temporary.txt', false],
  ['temp?', 'tempa', true],
  ['temp?', 'temp', false],
  ['[a-c].txt', 'b.txt', true],
  ['[^a-c].txt', 'b.txt', false],
  ['*.md\n!README.md', 'README.md', false],
  ['*.md\n!README*.md\nREADME-secret.md', 'README-secret.md', true],
  ['*\n!src', 'src/index.ts', false],
  ['*\n!src', 'test/index.ts', true],
  ['# comment\n\n  a  ', 'a', true],
  ['#a', '#a', false],
  ['\\#a', '#a', true],
  ['a.c', 'abc', false],
  ['a/**/z', 'a/z', true],
  ['a/**/z', 'a/b/c/z', true],
  ['dir/**', 'dir/x/y', true],
  ['../x', 'x', false],
  ['\uFEFFa', 'a', true],
];

describe('.dockerignore', () => {
  for (const [text, path, excluded] of cases) {
    it(`${JSON.stringify(text)} ${excluded ? 'leaves out' : 'keeps'} ${path}`, () => {
      expect(IgnoreFile.parse(text).excludes(path)).toBe(excluded);
    });
  }

  it('names the line that cannot be understood', () => {
    expect(() => IgnoreFile.parse('a\n[b')).toThrow(/line 2/);
    expect(() => IgnoreFile.parse('!')).toThrow(/line 1/);
  });
});
