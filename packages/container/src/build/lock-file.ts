// What lock files promise of packages: the hash each was published with. npm's, pnpm's and Yarn's formats.

import { join } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { readTextIfAny } from '../system/files.ts';

/** One locked package. */
export interface LockedPackage {
  /** Subresource integrity: `sha512-<base64>`, several separated by spaces. */
  readonly integrity?: string;
  /** Where it is fetched from. */
  readonly resolved?: string;
}

/** Locked packages by `name@version`. */
export type Lock = ReadonlyMap<string, LockedPackage>;

// Those in node_modules describe what is installed there; the others what was meant to be.
const NPM_LOCKS = ['node_modules/.package-lock.json', 'package-lock.json', 'npm-shrinkwrap.json'];
const PNPM_LOCKS = ['node_modules/.pnpm/lock.yaml', 'pnpm-lock.yaml'];

const npmSchema = z.object({
  packages: z.record(
    z.string(),
    z.object({
      name: z.string().optional(),
      version: z.string().optional(),
      integrity: z.string().optional(),
      resolved: z.string().optional(),
    }),
  ),
});
const pnpmSchema = z.object({
  packages: z
    .record(
      z.string(),
      z.object({
        resolution: z.object({ integrity: z.string().optional(), tarball: z.string().optional() }).optional(),
      }),
    )
    .optional(),
});

/** Reads every lock file of a directory. One that cannot be understood promises nothing. */
export async function readLock(directory: string): Promise<Lock> {
  const lock = new Map<string, LockedPackage>();
  const addAll = (packages: Iterable<[string, LockedPackage]>): void => {
    for (const [key, locked] of packages) if (!lock.has(key)) lock.set(key, locked);
  };
  const read = async (paths: readonly string[], parse: (text: string) => Lock): Promise<void> => {
    for (const path of paths) {
      const text = await readTextIfAny(join(directory, path));
      if (text !== undefined) addAll(parse(text));
    }
  };
  await read(NPM_LOCKS, parseNpmLock);
  await read(PNPM_LOCKS, parsePnpmLock);
  await read(['yarn.lock'], parseYarnLock);
  return lock;
}

/** package-lock.json of version 2 and 3. */
export function parseNpmLock(text: string): Lock {
  const parsed = npmSchema.safeParse(orUndefined(() => JSON.parse(text)));
  const lock = new Map<string, LockedPackage>();
  for (const [path, entry] of Object.entries(parsed.data?.packages ?? {})) {
    const name = entry.name ?? /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)$/.exec(path)?.[1];
    if (name !== undefined && entry.version !== undefined)
      lock.set(`${name}@${entry.version}`, lockedPackage(entry.integrity, entry.resolved));
  }
  return lock;
}

/** pnpm-lock.yaml of version 6 and 9. */
export function parsePnpmLock(text: string): Lock {
  const parsed = pnpmSchema.safeParse(orUndefined(() => parseYaml(text)));
  const lock = new Map<string, LockedPackage>();
  for (const [key, { resolution }] of Object.entries(parsed.data?.packages ?? {})) {
    // `/name@1.2.3(peer@4)` in version 6, `name@1.2.3` in version 9.
    const name = key.replace(/^\//, '').replace(/\(.*$/, '');
    lock.set(name, lockedPackage(resolution?.integrity, resolution?.tarball));
  }
  return lock;
}

/** yarn.lock of Yarn 1. Later Yarns hash their own archives, not what was published, so theirs promises nothing here. */
export function parseYarnLock(text: string): Lock {
  const lock = new Map<string, LockedPackage>();
  if (text.includes('__metadata:')) return lock;
  for (const block of text.split(/\n(?=\S)/)) {
    const name = /^"?((?:@[^/@\s"]+\/)?[^@\s"]+)@/.exec(block)?.[1];
    const field = (key: string): string | undefined =>
      new RegExp(`^ {2}${key} "?([^"\\n]+)"?$`, 'm').exec(block)?.[1];
    const version = field('version');
    if (name !== undefined && version !== undefined)
      lock.set(
        `${name}@${version}`,
        lockedPackage(field('integrity'), field('resolved')?.replace(/#.*$/, '')),
      );
  }
  return lock;
}

function lockedPackage(integrity: string | undefined, resolved: string | undefined): LockedPackage {
  return {
    ...(integrity === undefined ? {} : { integrity }),
    ...(resolved === undefined ? {} : { resolved }),
  };
}

function orUndefined(parse: () => unknown): unknown {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
