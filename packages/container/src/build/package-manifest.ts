// package.json: the few fields a build reads, parsed from whatever people write there.

import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { ContainerError, errnoOf } from '../errors.ts';

const names = z.record(z.string(), z.string()).optional().catch(undefined);
const text = z.string().optional().catch(undefined);
const schema = z.object({
  name: text,
  version: text,
  description: text,
  homepage: text,
  license: z.unknown().optional(),
  licenses: z.unknown().optional(),
  author: z
    .union([z.string(), z.object({ name: z.string() }).transform(({ name }) => name)])
    .optional()
    .catch(undefined),
  repository: z
    .union([z.string(), z.object({ url: z.string() }).transform(({ url }) => url)])
    .optional()
    .catch(undefined),
  packageManager: text,
  main: text,
  bin: z
    .union([z.string(), z.record(z.string(), z.string())])
    .optional()
    .catch(undefined),
  scripts: names,
  dependencies: names,
  devDependencies: names,
  optionalDependencies: names,
  peerDependencies: names,
});

/** What a build reads of a package.json. A field of a wrong kind counts as absent. */
export interface PackageManifest {
  readonly name?: string | undefined;
  readonly version?: string | undefined;
  readonly description?: string | undefined;
  readonly homepage?: string | undefined;
  readonly license?: unknown;
  readonly licenses?: unknown;
  readonly author?: string | undefined;
  readonly repository?: string | undefined;
  readonly packageManager?: string | undefined;
  readonly main?: string | undefined;
  readonly bin?: string | Readonly<Record<string, string>> | undefined;
  readonly scripts?: Readonly<Record<string, string>> | undefined;
  readonly dependencies?: Readonly<Record<string, string>> | undefined;
  readonly devDependencies?: Readonly<Record<string, string>> | undefined;
  readonly optionalDependencies?: Readonly<Record<string, string>> | undefined;
  readonly peerDependencies?: Readonly<Record<string, string>> | undefined;
}

/** Reads a package.json; undefined when there is none. Throws `BUILD_FAILED` when it is not a JSON object. */
export async function readPackageManifest(path: string): Promise<PackageManifest | undefined> {
  let json: unknown;
  try {
    json = JSON.parse((await readFile(path, 'utf8')).replace(/^\uFEFF/, ''));
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return undefined;
    throw new ContainerError('BUILD_FAILED', `cannot build: ${path} is not JSON`, { cause });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new ContainerError('BUILD_FAILED', `cannot build: ${path} is not a JSON object`);
}
