// The image that an application's layers are put over: its layers, its config as it is, and what a scan finds in it.

import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import tar from 'tar-stream';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { type Digest, digestHex } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { type Descriptor, MAX_MANIFEST_BYTES } from '../image/manifest.ts';
import { ensureDirectory, readJson, writeJsonAtomic } from '../system/files.ts';
import { type OsPackage, parseApkInstalled, parseDpkgStatus, parseOsRelease } from './os-packages.ts';

/** What a build needs of its base. */
export interface BaseImage {
  /** Its name as it was given. */
  readonly name: string;
  readonly digest: Digest;
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly Digest[];
  /** The `config` object of the image config, unknown fields included. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string>>;
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly history: readonly unknown[];
  /** Path of its Node. */
  readonly node: string;
  readonly packages: readonly OsPackage[];
}

const configSchema = z.looseObject({
  config: z
    .looseObject({
      Env: z.array(z.string()).nullish(),
      User: z.string().nullish(),
      Entrypoint: z.array(z.string()).nullish(),
    })
    .nullish(),
  history: z.array(z.unknown()).nullish(),
});

const scanSchema = z.object({
  files: z.record(z.string(), z.string()),
  programs: z.array(z.string()),
});
type Scan = z.infer<typeof scanSchema>;

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Databases of installed packages, and what names the distribution. */
const WANTED =
  /^(var\/lib\/dpkg\/status|var\/lib\/dpkg\/status\.d\/[^/]+|lib\/apk\/db\/installed|(etc|usr\/lib)\/os-release)$/;
/** The dpkg database of a full desktop has 5 MiB. */
const MAX_DATABASE_BYTES: number = 16 * 1024 * 1024;

/** Opens the base. Throws `IMAGE_NOT_FOUND`, `IMAGE_NOT_TRUSTED`, and `BUILD_FAILED` when there is no Node in it. */
export async function openBaseImage(images: ImageStore, name: string): Promise<BaseImage> {
  const image = await images.inspect(await images.requireTrusted(name));
  const raw: unknown = JSON.parse(
    Buffer.from(await images.content.readBytes(image.manifest.config.digest, MAX_MANIFEST_BYTES)).toString(
      'utf8',
    ),
  );
  const { config, history } = configSchema.parse(raw);
  const environment = Object.fromEntries(
    (config?.Env ?? []).map((line) => {
      const equals = line.indexOf('=');
      return [line.slice(0, equals), line.slice(equals + 1)];
    }),
  );
  const scan = await scanOf(images, image.digest, image.manifest.layers);
  return {
    name,
    digest: image.digest,
    layers: image.manifest.layers,
    diffIds: image.config.rootfs.diff_ids,
    config: config ?? {},
    environment,
    user: config?.User ?? '',
    entrypoint: config?.Entrypoint ?? [],
    history: history ?? [],
    node: findNode(name, scan, environment.PATH ?? DEFAULT_PATH, config?.Entrypoint ?? []),
    packages: packagesOf(scan),
  };
}

function findNode(name: string, scan: Scan, path: string, entrypoint: readonly string[]): string {
  // An entry point that is Node itself: distroless images have theirs outside of the search path.
  const [first] = entrypoint;
  if (first?.startsWith('/') === true && first.endsWith('/node')) return first;
  const found = path.split(':').find((directory) => scan.programs.includes(`${directory}/node`.slice(1)));
  if (found !== undefined) return `${found}/node`;
  throw new ContainerError(
    'BUILD_FAILED',
    `cannot build on ${name}: there is no "node" on its search path (${path})`,
    {
      hint: "give an image with Node.js as the base, or none: then this machine's Node goes into the image",
    },
  );
}

function packagesOf(scan: Scan): OsPackage[] {
  const os = parseOsRelease(scan.files['etc/os-release'] ?? scan.files['usr/lib/os-release'] ?? '');
  return Object.entries(scan.files).flatMap(([path, text]) => {
    if (path.startsWith('var/lib/dpkg/')) return parseDpkgStatus(text, os);
    return path === 'lib/apk/db/installed' ? parseApkInstalled(text, os) : [];
  });
}

/** What the layers hold; read once per image and kept beside the layer cache. */
async function scanOf(images: ImageStore, digest: Digest, layers: readonly Descriptor[]): Promise<Scan> {
  const cache = join(images.home, 'build-cache');
  await ensureDirectory(cache);
  const path = join(cache, `base-${digestHex(digest)}.json`);
  const known = scanSchema.safeParse(await readJson(path).catch(() => undefined));
  if (known.success) return known.data;
  const files: Record<string, string> = {};
  const programs = new Set<string>();
  for (const layer of layers) await scanLayer(images, layer, files, programs);
  const scan: Scan = { files, programs: [...programs] };
  await writeJsonAtomic(path, scan);
  return scan;
}

async function scanLayer(
  images: ImageStore,
  layer: Descriptor,
  files: Record<string, string>,
  programs: Set<string>,
): Promise<void> {
  const archive = tar.extract();
  const source = await images.content.read(layer.digest);
  const flow = pipeline([source, ...decompression(layer.mediaType), archive]);
  // Awaited below; when an entry is refused first, that error is the one to report.
  flow.catch(() => undefined);
  try {
    for await (const entry of archive) {
      const path = entry.header.name.replace(/^(\.?\/)+/, '');
      if (path.endsWith('/node')) programs.add(path);
      const isWanted = entry.header.type === 'file' && WANTED.test(path);
      if (isWanted && (entry.header.size ?? 0) <= MAX_DATABASE_BYTES) {
        const chunks: Uint8Array[] = [];
        for await (const chunk of entry as unknown as AsyncIterable<Uint8Array>) chunks.push(chunk);
        files[path] = Buffer.concat(chunks).toString('utf8');
      }
      entry.resume();
    }
    await flow;
  } catch (cause) {
    archive.destroy();
    source.destroy();
    throw new ContainerError('IMAGE_INVALID', `cannot build on layer ${layer.digest}: it cannot be read`, {
      cause,
    });
  }
}

function decompression(mediaType: string): NodeJS.ReadWriteStream[] {
  if (mediaType.endsWith('+zstd')) return [createZstdDecompress()];
  return mediaType.endsWith('.tar') ? [] : [createGunzip()];
}
