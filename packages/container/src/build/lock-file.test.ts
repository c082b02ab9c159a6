// Lock files of each manager, and what is none.

import { describe, expect, it } from 'vitest';
import { parseNpmLock, parsePnpmLock, parseYarnLock } from './lock-file.ts';

describe('lock files', () => {
  it("npm's: names by path, aliases by name, nothing for links and the project", () => {
    const lock = parseNpmLock(
      JSON.stringify({
        lockfileVersion: 3,
        packages: {
          '': { name: 'app', version: '1.0.0' },
          'node_modules/@s/a': { version: '1.2.3', integrity: 'sha512-x', resolved: 'https://r/a.tgz' },
          'node_modules/a/node_modules/b': { version: '2.0.0' },
          'node_modules/alias': { name: 'real', version: '3.0.0' },
          'node_modules/local': { link: true, resolved: 'packages/local' },
        },
      }),
    );
    expect(Object.fromEntries(lock)).toEqual({
      'app@1.0.0': {},
      '@s/a@1.2.3': { integrity: 'sha512-x', resolved: 'https://r/a.tgz' },
      'b@2.0.0': {},
      'real@3.0.0': {},
    });
  });

  it("pnpm's of version 6 and 9, peers left out of the name", () => {
    const nine = "packages:\n  '@s/a@1.2.3':\n    resolution: {integrity: sha512-x}\n  b@2.0.0: {}\n";
    expect(Object.fromEntries(parsePnpmLock(nine))).toEqual({
      '@s/a@1.2.3': { integrity: 'sha512-x' },
      'b@2.0.0': {},
    });
    const six = 'packages:\n  /c@1.0.0(peer@4.0.0)(other@1):\n    resolution: {integrity: sha512-y}\n';
    expect(Object.fromEntries(parsePnpmLock(six))).toEqual({ 'c@1.0.0': { integrity: 'sha512-y' } });
  });

  it("Yarn 1's, with several ranges and quoted names", () => {
    const text =
      '# yarn lockfile v1\n\n"@s/a@^1.0.0", "@s/a@~1.2.0":\n  version "1.2.3"\n  resolved "https://r/a.tgz#abc"\n  integrity sha512-x==\n  dependencies:\n    version "^9"\n\nb@^2:\n  version "2.0.0"\n';
    expect(Object.fromEntries(parseYarnLock(text))).toEqual({
      '@s/a@1.2.3': { integrity: 'sha512-x==', resolved: 'https://r/a.tgz' },
      'b@2.0.0': {},
    });
    expect(parseYarnLock('__metadata:\n  version: 8\n').size).toBe(0);
  });

  it('what is none promises nothing', () => {
    for (const text of ['', '{', '[]', '{"packages":1}', 'a: [', '\u0000']) {
      expect(parseNpmLock(text).size).toBe(0);
      expect(parsePnpmLock(text).size).toBe(0);
      expect(parseYarnLock(text).size).toBe(0);
    }
  });
});
