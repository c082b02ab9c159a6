// Databases of installed packages, and who owns files of this machine.

import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { owningPackages, parseApkInstalled, parseDpkgStatus, parseOsRelease } from './os-packages.ts';

const os = { distribution: 'debian', release: '12' };

describe('databases of packages', () => {
  it("dpkg's: installed ones, not those of which only the configuration is left", () => {
    const text =
      'Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\nDescription: libc\n Package: not this\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: distroless\nVersion: 2\n';
    expect(parseDpkgStatus(text, os)).toMatchObject([
      {
        type: 'deb',
        name: 'libc6',
        version: '2.36-9',
        architecture: 'amd64',
        distribution: 'debian',
        release: '12',
      },
      { name: 'distroless', version: '2' },
    ]);
  });

  it("apk's", () => {
    const text = 'C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:nothing\n';
    expect(parseApkInstalled(text, { distribution: 'alpine' })).toMatchObject([
      { type: 'apk', name: 'musl', version: '1.2.5-r0', architecture: 'x86_64' },
    ]);
  });

  it('os-release, quoted and not', () => {
    expect(parseOsRelease('NAME="Debian"\nVERSION_ID="12"\nID=debian\n')).toEqual(os);
    expect(parseOsRelease('')).toEqual({ distribution: 'linux' });
  });
});

it.skipIf(!existsSync('/usr/bin/dpkg-query'))(
  'files of this machine lead to their packages, also over links',
  async () => {
    const { packages, unowned } = await owningPackages([
      { source: '/bin/sh', path: '/bin/sh' },
      { source: '/proc/version', path: '/etc/unknown' },
    ]);
    expect(packages).toMatchObject([{ type: 'deb', paths: ['/bin/sh'] }]);
    expect(packages[0]?.version).toMatch(/\d/);
    expect(unowned.map(({ path }) => path)).toEqual(['/etc/unknown']);
  },
);
