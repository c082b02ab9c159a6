// Packages of an operating system: those that own files of this machine, and those a base image's database lists.

import { realpath } from 'node:fs/promises';
import { isHeptadError } from '@heptad/core';
import { run } from '../system/command.ts';
import { readTextIfAny } from '../system/files.ts';

/** One installed package. */
export interface OsPackage {
  /** Who packages it, as in a package URL: `deb`, `apk`. */
  readonly type: 'deb' | 'apk';
  readonly name: string;
  readonly version: string;
  readonly architecture?: string | undefined;
  /** `debian`, `alpine`…: ID of os-release. */
  readonly distribution: string;
  /** `12`, `3.20`: VERSION_ID of os-release. */
  readonly release?: string | undefined;
  /** Its files in the image, when known. */
  readonly paths?: readonly string[] | undefined;
}

/** ID and VERSION_ID of an os-release file. */
export function parseOsRelease(text: string): { distribution: string; release?: string } {
  const value = (key: string): string | undefined =>
    new RegExp(`^${key}=["']?([^"'\\n]*)`, 'm').exec(text)?.[1];
  const release = value('VERSION_ID');
  return { distribution: value('ID') || 'linux', ...(release === undefined ? {} : { release }) };
}

/** The packages of a dpkg `status` file. */
export function parseDpkgStatus(text: string, os: { distribution: string; release?: string }): OsPackage[] {
  return paragraphs(text).flatMap((fields) => {
    const name = fields.get('Package');
    const version = fields.get('Version');
    // A removed package whose configuration stayed is in the file too.
    const isInstalled = fields.get('Status')?.endsWith(' installed') ?? true;
    if (name === undefined || version === undefined || !isInstalled) return [];
    return [{ type: 'deb', name, version, architecture: fields.get('Architecture'), ...os }];
  });
}

/** The packages of an apk `installed` file. */
export function parseApkInstalled(text: string, os: { distribution: string; release?: string }): OsPackage[] {
  return paragraphs(text).flatMap((fields) => {
    const name = fields.get('P');
    const version = fields.get('V');
    if (name === undefined || version === undefined) return [];
    return [{ type: 'apk', name, version, architecture: fields.get('A'), ...os }];
  });
}

function paragraphs(text: string): Map<string, string>[] {
  return text.split(/\n\n+/).map((paragraph) => {
    const fields = new Map<string, string>();
    for (const line of paragraph.split('\n')) {
      const colon = line.indexOf(':');
      // A line that starts with a space goes on with the field before, and none of ours has several lines.
      if (colon > 0 && !line.startsWith(' ') && !fields.has(line.slice(0, colon)))
        fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
    }
    return fields;
  });
}

/**
 * The Debian packages that own `files` of this machine, each with the files' paths in the image, and the files that no
 * package owns. Without dpkg no file has an owner.
 */
export async function owningPackages(
  files: readonly { readonly source: string; readonly path: string }[],
): Promise<{ packages: OsPackage[]; unowned: { source: string; path: string }[] }> {
  const nobody = { packages: [], unowned: [...files] };
  if (files.length === 0) return nobody;
  // A file may be known by its real path, or by the path before /lib became a link to /usr/lib.
  const names = new Map<string, readonly string[]>();
  for (const { source } of files) {
    const real = await realpath(source);
    names.set(source, [...new Set([source, real, real.replace(/^\/usr(?=\/)/, '')])]);
  }
  const owners = await ownersOf([...new Set([...names.values()].flat())]);
  if (owners === undefined) return nobody;
  const os = parseOsRelease((await readTextIfAny('/etc/os-release')) ?? '');
  const owned = new Map<string, string[]>();
  const unowned: { source: string; path: string }[] = [];
  for (const file of files) {
    const owner = names
      .get(file.source)
      ?.map((name) => owners.get(name))
      .find((each) => each !== undefined);
    if (owner === undefined) unowned.push(file);
    else owned.set(owner, [...(owned.get(owner) ?? []), file.path]);
  }
  if (owned.size === 0) return { packages: [], unowned };
  const format = '$' + '{binary:Package}\\t$' + '{Package}\\t$' + '{Version}\\t$' + '{Architecture}\\n';
  const { stdout } = await run('dpkg-query', ['-W', '-f', format, ...owned.keys()]);
  const packages = stdout.split('\n').flatMap((line): OsPackage[] => {
    const [key, name, version, architecture] = line.split('\t');
    if (key === undefined || name === undefined || version === undefined) return [];
    // dpkg leaves out the architecture of a package that can be installed for one only, or adds it for the native one.
    const paths = owned.get(key) ?? owned.get(name) ?? owned.get(`${name}:${architecture}`) ?? [];
    return [{ type: 'deb', name, version, architecture, paths: [...paths].sort(), ...os }];
  });
  return { packages: packages.sort((one, other) => (one.name < other.name ? -1 : 1)), unowned };
}

/** Package by path, as dpkg knows both; undefined without dpkg. */
async function ownersOf(paths: readonly string[]): Promise<Map<string, string> | undefined> {
  try {
    // Exits with 1 when some path has no owner, and still prints the others.
    const { stdout } = await run('dpkg-query', ['-S', ...paths]);
    const owners = new Map<string, string>();
    for (const line of stdout.split('\n')) {
      const match = /^([^\s,]+)(?:, \S+)*: (\/.*)$/.exec(line);
      if (match?.[1] !== undefined && match[2] !== undefined) owners.set(match[2], match[1]);
    }
    return owners;
  } catch (error) {
    if (isHeptadError(error, 'RUNTIME_UNAVAILABLE')) return undefined;
    throw error;
  }
}
