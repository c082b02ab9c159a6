// What the runtime layer is made of, for the bill of materials: Node's version and parts, libraries and their packages.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { type Digest, digestHex } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { run } from '../system/command.ts';
import { ensureDirectory, readJson, writeJsonAtomic } from '../system/files.ts';
import { type OsPackage, owningPackages } from './os-packages.ts';
import { NODE_PATH, type RuntimeLayer } from './runtime-layer.ts';

const osPackage = z.object({
  type: z.enum(['deb', 'apk']),
  name: z.string(),
  version: z.string(),
  architecture: z.string().optional(),
  distribution: z.string(),
  release: z.string().optional(),
  paths: z.array(z.string()).readonly().optional(),
});
const schema = z.object({
  version: z.string().optional(),
  sha256: z.string(),
  bundled: z.array(z.object({ name: z.string(), version: z.string() })),
  packages: z.array(osPackage),
  files: z.array(z.object({ path: z.string(), sha256: z.string() })),
});

/** This machine's Node as it is in an image. */
export interface NodeRuntime {
  /** `24.15.0`; undefined for a program that does not say so. */
  readonly version?: string | undefined;
  readonly sha256: string;
  /** Libraries that are part of the binary: V8, OpenSSL, libuv… */
  readonly bundled: readonly { readonly name: string; readonly version: string }[];
  /** Packages of this machine that its libraries and tools come from. */
  readonly packages: readonly OsPackage[];
  /** Files of no package. */
  readonly files: readonly { readonly path: string; readonly sha256: string }[];
}

/** Finds it out once per runtime layer; it is kept beside the layer cache. */
export async function runtimeFacts(
  images: ImageStore,
  nodeBinary: string,
  layer: RuntimeLayer,
): Promise<NodeRuntime> {
  const cache = join(images.home, 'build-cache');
  await ensureDirectory(cache);
  const path = factsPath(cache, layer.diffId);
  const known = schema.safeParse(await readJson(path).catch(() => undefined));
  if (known.success) return known.data;
  const versions = await nodeVersions(nodeBinary);
  const others = layer.files.filter((file) => file.path !== NODE_PATH);
  const { packages, unowned } = await owningPackages(others);
  const facts: NodeRuntime = {
    ...(versions.node === undefined ? {} : { version: versions.node }),
    sha256: await hashOfFile(nodeBinary),
    bundled: Object.entries(versions)
      .filter(([name]) => name !== 'node' && name !== 'modules')
      .map(([name, version]) => ({ name, version })),
    packages,
    files: await Promise.all(
      unowned.map(async (file) => ({ path: file.path, sha256: await hashOfFile(file.source) })),
    ),
  };
  await writeJsonAtomic(path, facts);
  return facts;
}

function factsPath(cache: string, diffId: Digest): string {
  return join(cache, `runtime-${digestHex(diffId)}.json`);
}

/** `process.versions` of a Node binary; {} for another program. */
async function nodeVersions(nodeBinary: string): Promise<Record<string, string>> {
  const { stdout, exitCode } = await run(nodeBinary, ['-p', 'JSON.stringify(process.versions)']);
  if (exitCode !== 0) return {};
  try {
    return z.record(z.string(), z.string()).parse(JSON.parse(stdout));
  } catch {
    return {};
  }
}

/** SHA-256 of a file, in hexadecimal. */
async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}
