// The Debian packages that the platform and its tests need: which are missing, and installing them.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** What `npm start` needs for containers with full isolation. */
export const PLATFORM_PACKAGES: readonly string[] = [
  'runc',
  'conmon',
  'containernetworking-plugins',
  'golang-github-containers-common',
  'nftables',
  'iproute2',
];

/** What the tests drive beside it: a real browser, Prometheus as the oracle of our queries, a compiler for escape attempts. */
export const TEST_PACKAGES: readonly string[] = [
  ...PLATFORM_PACKAGES,
  'busybox-static',
  'docker.io',
  'docker-compose',
  'chromium',
  'fonts-dejavu-core',
  'prometheus',
  'gcc',
  'slirp4netns',
  'tini',
  'uidmap',
  'libc6-dev',
  'docker-registry',
  'skopeo',
  'buildah',
  'apache2-utils',
  'busybox-static',
  'openssl',
  'qemu-system-x86',
  'qemu-utils',
  'linux-image-cloud-amd64',
  'cpio',
  'e2fsprogs',
];

// biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholder, not ours.
const STATUS_FORMAT = '${db:Status-Status}';

function isInstalled(name: string): boolean {
  const query = spawnSync('dpkg-query', ['-W', '-f', STATUS_FORMAT, name], { encoding: 'utf8' });
  return query.status === 0 && query.stdout.trim() === 'installed';
}

function isDebian(): boolean {
  if (!existsSync('/etc/os-release')) return false;
  const release = readFileSync('/etc/os-release', 'utf8');
  return /^(ID|ID_LIKE)=.*(debian|ubuntu)/m.test(release);
}

function aptGet(args: readonly string[]): boolean {
  const result = spawnSync('apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  return result.status === 0;
}

/**
 * Installs the missing ones of `packages` with apt, saying so on stderr; answers those that are still missing.
 *
 * Does nothing but answer when we are not root, the system is not Debian, or HEPTAD_NO_SYSTEM_INSTALL=1.
 */
export function ensureSystemPackages(packages: readonly string[]): string[] {
  if (!isDebian()) return [];
  const missing = packages.filter((name) => !isInstalled(name));
  if (missing.length === 0) return [];
  const isRoot = process.getuid?.() === 0;
  if (!isRoot || process.env.HEPTAD_NO_SYSTEM_INSTALL === '1') return missing;
  process.stderr.write(`heptad: installing system packages with apt: ${missing.join(' ')}\n`);
  process.stderr.write('heptad: (set HEPTAD_NO_SYSTEM_INSTALL=1 to prevent this)\n');
  const install = ['install', '-y', '--no-install-recommends', ...missing];
  // A fresh machine has no package lists yet; an old list may name versions that are gone.
  if (!aptGet(install) && !(aptGet(['update']) && aptGet(install))) {
    process.stderr.write('heptad: apt could not install them; its messages are above\n');
  }
  return missing.filter((name) => !isInstalled(name));
}
