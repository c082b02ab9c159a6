// Turns a built Node.js application into an OCI image on top of this machine's own Node binary: nothing is pulled.

import { lstat, readdir, readlink, stat } from 'node:fs/promises';
import { join, posix, relative, resolve } from 'node:path';
import { ContainerError } from '../errors.ts';
import { type Digest, digestOf } from './digest.ts';
import type { ImageStore } from './image-store.ts';
import { type LayerEntry, type LayerWriting, writeLayer } from './layer-writer.ts';
import {
  type Descriptor,
  hostArchitecture,
  type ImageConfig,
  type ImageManifest,
  MEDIA_TYPE,
} from './manifest.ts';
import { runtimeLayer } from './runtime-layer.ts';

/** Where the application lies in the image. */
export const APP_DIRECTORY = '/app';
/** Annotation of the layer that holds the application, so that the process runtime can find it. */
export const APP_LAYER_ANNOTATION = 'dev.heptad.layer';

/** Options of {@link buildNodeImage}. */
export interface BuildNodeImageOptions {
  readonly images: ImageStore;
  /** `repository[:tag]` of the new image. */
  readonly name: string;
  /** The built application: everything it needs at run time, `node_modules` included unless it is bundled. */
  readonly directory: string;
  /** The file to run, relative to `directory`. */
  readonly main: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** TCP ports the application listens on: documentation for whoever runs the image. */
  readonly ports?: readonly number[];
  /** `user[:group]`. Default `node` (1000), so that the application is not root. */
  readonly user?: string;
  /** The Node.js binary. Default the one that runs this. */
  readonly nodeBinary?: string;
  /** Further programs of this machine to put into the image, with their libraries. Default `/bin/sh`, which shell health checks need. */
  readonly tools?: readonly string[];
  /** Names of files and directories left out, at any depth. Default `.git` and `.env`. */
  readonly exclude?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: BuildProgress) => void;
}

/** What a build is doing. */
export interface BuildProgress {
  readonly step: 'runtime' | 'app' | 'done';
  /** A sentence for people. */
  readonly message: string;
  /** Bytes of this step so far. */
  readonly bytes?: number;
}

/** What {@link buildNodeImage} made. */
export interface BuiltImage {
  readonly name: string;
  /** Digest of the manifest; equal inputs give an equal digest. */
  readonly digest: Digest;
  /** Bytes as stored. */
  readonly sizeBytes: number;
  readonly layers: readonly Descriptor[];
}

const DEFAULT_EXCLUDE = ['.git', '.env'];
const MAX_APP_FILES = 500_000;
const PROGRESS_STEP_BYTES = 8 * 1024 * 1024;
const CREATED = '1970-01-01T00:00:00Z';
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Builds an image of a Node.js application: a runtime layer (Node, its libraries, users, certificates) and an
 * application layer at `/app`. Equal inputs on one machine give byte-equal images. The runtime layer is made once per
 * Node binary and shared by all images.
 *
 * Throws `PATH_NOT_FOUND`, `INVALID_REFERENCE`, `BUILD_FAILED`, `NO_SPACE`.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm, writeFile } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { buildNodeImage, ImageStore } from '@heptad/container';
 *
 * const home = await mkdtemp(join(tmpdir(), 'build-'));
 * const app = await mkdtemp(join(tmpdir(), 'app-'));
 * await writeFile(join(app, 'main.mjs'), 'console.log("hello")');
 * const images = await ImageStore.open({ home });
 * const { digest } = await buildNodeImage({ images, name: 'hello', directory: app, main: 'main.mjs' });
 * console.log(digest);
 * await Promise.all([home, app].map((path) => rm(path, { recursive: true })));
 * ```
 */
export async function buildNodeImage(options: BuildNodeImageOptions): Promise<BuiltImage> {
  const directory = resolve(options.directory);
  const app = await appEntries(directory, options);
  const runtime = await runtimeLayer(options.images, {
    nodeBinary: options.nodeBinary ?? process.execPath,
    tools: options.tools ?? ['/bin/sh'],
    writing: layerOptions(options, 'runtime'),
    onStart: () =>
      options.onProgress?.({
        step: 'runtime',
        message: 'packing the Node.js runtime (once per Node version)',
      }),
  });
  options.onProgress?.({ step: 'app', message: `packing ${app.length} files of ${directory}` });
  const appLayer = await writeLayer(
    options.images.content,
    `build-app-${options.images.random.uuid(options.images.clock.now())}`,
    app,
    layerOptions(options, 'app'),
  );
  const layers = [
    runtime.descriptor,
    { ...appLayer.descriptor, annotations: { [APP_LAYER_ANNOTATION]: 'app' } },
  ];
  const config = imageConfig(options, [runtime.diffId, appLayer.diffId]);
  const manifest: ImageManifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config: { mediaType: MEDIA_TYPE.config, ...(await put(options.images, config)) },
    layers,
  };
  const target = { mediaType: MEDIA_TYPE.manifest, ...(await put(options.images, manifest)) };
  const { name } = await options.images.setTag(options.name, target);
  const sizeBytes = layers.reduce((sum, layer) => sum + layer.size, manifest.config.size);
  options.onProgress?.({
    step: 'done',
    message: `built ${name} (${target.digest.slice(0, 19)})`,
    bytes: sizeBytes,
  });
  return { name, digest: target.digest, sizeBytes, layers };
}

function layerOptions(options: BuildNodeImageOptions, step: 'runtime' | 'app'): LayerWriting {
  let told = 0;
  return {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onBytes: (bytes: number): void => {
      if (bytes - told < PROGRESS_STEP_BYTES) return;
      told = bytes;
      options.onProgress?.({
        step,
        message: `packing the ${step === 'app' ? 'application' : 'Node.js runtime'}`,
        bytes,
      });
    },
  };
}

async function put(images: ImageStore, value: unknown): Promise<{ digest: Digest; size: number }> {
  const bytes = Buffer.from(JSON.stringify(value));
  const digest = digestOf(bytes);
  await images.content.ingest(`document-${digest}-${images.random.uuid(images.clock.now())}`, [bytes], {
    digest,
  });
  return { digest, size: bytes.length };
}

function imageConfig(options: BuildNodeImageOptions, diffIds: readonly Digest[]): ImageConfig {
  const environment = { PATH: DEFAULT_PATH, NODE_ENV: 'production', ...options.environment };
  return {
    architecture: hostArchitecture(),
    os: 'linux',
    created: CREATED,
    config: {
      User: options.user ?? 'node',
      Env: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
      Entrypoint: ['/usr/local/bin/node'],
      Cmd: [posix.join(APP_DIRECTORY, options.main)],
      WorkingDir: APP_DIRECTORY,
      ...(options.ports === undefined
        ? {}
        : { ExposedPorts: Object.fromEntries(options.ports.map((port) => [`${port}/tcp`, {}])) }),
      ...(options.labels === undefined ? {} : { Labels: options.labels }),
    },
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: [
      { created: CREATED, created_by: 'heptad: Node.js runtime of the build machine' },
      { created: CREATED, created_by: `heptad: application, runs ${options.main}` },
    ],
  };
}

async function appEntries(directory: string, options: BuildNodeImageOptions): Promise<LayerEntry[]> {
  const exclude = new Set(options.exclude ?? DEFAULT_EXCLUDE);
  const main = await stat(join(directory, options.main)).catch(() => undefined);
  if (main?.isFile() !== true || relative(directory, resolve(directory, options.main)).startsWith('..')) {
    throw new ContainerError(
      'PATH_NOT_FOUND',
      `cannot build ${options.name}: ${options.main} is not a file in ${directory}`,
      {
        hint: 'build the application first, and give "main" relative to "directory"',
      },
    );
  }
  const entries: LayerEntry[] = [{ type: 'directory', path: APP_DIRECTORY.slice(1), mode: 0o755 }];
  const pending = [''];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    for (const name of await readdir(join(directory, at))) {
      if (exclude.has(name)) continue;
      const path = posix.join(at, name);
      const entry = await appEntry(directory, path);
      if (entry.type === 'directory') pending.push(path);
      entries.push(entry);
      if (entries.length > MAX_APP_FILES) {
        throw new ContainerError(
          'LIMIT_EXCEEDED',
          `cannot build ${options.name}: ${directory} has more than ${MAX_APP_FILES} files`,
        );
      }
    }
  }
  return entries;
}

async function appEntry(directory: string, path: string): Promise<LayerEntry> {
  const source = join(directory, path);
  const info = await lstat(source);
  const target = posix.join(APP_DIRECTORY.slice(1), path);
  if (info.isDirectory()) return { type: 'directory', path: target, mode: 0o755 };
  if (info.isSymbolicLink())
    return { type: 'symlink', path: target, target: await linkInside(directory, path, source) };
  if (!info.isFile())
    throw new ContainerError(
      'BUILD_FAILED',
      `cannot pack ${source}: it is neither a file, a directory nor a link`,
    );
  // Only whether it can be executed is kept of the mode: umasks differ between machines.
  return {
    type: 'copy',
    path: target,
    mode: (info.mode & 0o100) === 0 ? 0o644 : 0o755,
    source,
    size: info.size,
  };
}

async function linkInside(directory: string, path: string, source: string): Promise<string> {
  const target = await readlink(source);
  const leadsTo = resolve(directory, posix.dirname(path), target);
  if (!posix.isAbsolute(target) && !relative(directory, leadsTo).startsWith('..')) return target;
  throw new ContainerError(
    'BUILD_FAILED',
    `cannot pack ${source}: it is a link to ${target}, outside of ${directory}`,
    {
      hint: 'bundle the application, or make a self-contained directory with "pnpm deploy" or "npm install --install-links"',
    },
  );
}
