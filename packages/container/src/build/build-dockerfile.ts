// Builds a Dockerfile with buildah: what it builds on comes from our store, and what it makes goes there.

import { readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isHeptadError } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import type { ImageStore } from '../image/image-store.ts';
import { parseReference, taggedName } from '../image/reference.ts';
import type { BuildProgress, BuiltImage } from './build-node-image.ts';
import { Buildah } from './buildah.ts';
import { namedImages, replaceImages } from './dockerfile-images.ts';
import { sourceDateEpoch } from './source-date-epoch.ts';

/** Options of {@link buildDockerfile}. */
export interface BuildDockerfileOptions {
  readonly images: ImageStore;
  /** `repository[:tag]` of the new image. */
  readonly name: string;
  /** The build context. Its .dockerignore is followed. */
  readonly directory: string;
  /** Path of the Dockerfile. Default `Dockerfile`, else `Containerfile`, in `directory`. */
  readonly dockerfile?: string;
  /** Values of `ARG`s. They can be seen in the image's history: no place for secrets. */
  readonly args?: Readonly<Record<string, string>>;
  /** The stage to build. Default the last. */
  readonly target?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Runs every step again, whatever earlier builds left. Default false. */
  readonly noCache?: boolean;
  /** Time of the image and its files, seconds since 1970. Default the environment's SOURCE_DATE_EPOCH, else 0. */
  readonly sourceDateEpoch?: number;
  /** Fetches an image that the Dockerfile builds on and that is not in the store. Default: that is an error. */
  readonly pull?: (reference: string) => Promise<unknown>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: BuildProgress) => void;
}

/** The names a Dockerfile has when nothing else is said. */
export const DOCKERFILE_NAMES: readonly string[] = ['Dockerfile', 'Containerfile'];

/**
 * Builds a Dockerfile with Debian's buildah, in storage of its own below the image store. Images it builds on are taken
 * from the store (and so pass its trust policy), never from a registry by buildah itself. Unchanged steps are not run again.
 *
 * Throws `RUNTIME_UNAVAILABLE` (no buildah), `PATH_NOT_FOUND`, `IMAGE_NOT_FOUND`, `IMAGE_NOT_TRUSTED`, `BUILD_FAILED`.
 */
export async function buildDockerfile(options: BuildDockerfileOptions): Promise<BuiltImage> {
  const { images, onProgress, signal } = options;
  const name = taggedName(parseReference(options.name));
  const context = resolve(options.directory);
  const text = await readDockerfile(context, options.dockerfile);
  const tell = (message: string): void => onProgress?.({ step: 'dockerfile', message });
  const named = namedImages(text, options.args);
  const buildah = await Buildah.open(images);
  // What it stands on is copied to buildah, which takes a while; what comes back is kept by the loading of it.
  await using lease = await images.leases.create();
  const replacements = [];
  for (const one of named) {
    const digest = await baseDigest(options, one.name);
    await lease.add({ kind: 'content', id: digest });
    replacements.push({ ...one, by: await buildah.give(digest, tell, signal) });
  }
  const directory = await buildah.temporary();
  try {
    const file = join(directory, 'Dockerfile');
    await writeFile(file, replaceImages(text, replacements));
    const run = { onLine: tell, signal, directory };
    const id = await buildah.build(argumentsOf(options, file), context, run);
    await buildah.take(id, name, { ...run, onLine: () => undefined });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  const { digest, manifest, sizeBytes } = await images.inspect(name);
  onProgress?.({ step: 'done', message: `built ${name} (${digest.slice(0, 19)})`, bytes: sizeBytes });
  return { name, digest, sizeBytes, layers: manifest.layers };
}

/** The images a build would stand on. */
export async function dockerfileImages(options: BuildDockerfileOptions): Promise<string[]> {
  const text = await readDockerfile(resolve(options.directory), options.dockerfile);
  return [...new Set(namedImages(text, options.args).map(({ name }) => name))];
}

function argumentsOf(options: BuildDockerfileOptions, file: string): string[] {
  const pairs = (flag: string, values: Readonly<Record<string, string>> = {}): string[] =>
    Object.entries(values).flatMap(([key, value]) => [flag, `${key}=${value}`]);
  return [
    ...['--file', file, '--timestamp', String(sourceDateEpoch(options.name, options.sourceDateEpoch) ?? 0)],
    ...pairs('--build-arg', options.args),
    ...pairs('--label', options.labels),
    ...(options.noCache === true ? ['--no-cache'] : []),
    ...(options.target === undefined ? [] : ['--target', options.target]),
  ];
}

async function readDockerfile(context: string, given: string | undefined): Promise<string> {
  const paths = given === undefined ? DOCKERFILE_NAMES.map((name) => join(context, name)) : [resolve(given)];
  for (const path of paths) {
    try {
      return await readFile(path, 'utf8');
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENOTDIR') throw error;
    }
  }
  throw new ContainerError('PATH_NOT_FOUND', `cannot build: there is no ${paths.join(' and no ')}`, {
    hint: 'give the path of the Dockerfile',
  });
}

async function baseDigest(options: BuildDockerfileOptions, name: string): Promise<string> {
  const { images, pull } = options;
  try {
    return (await images.inspect(await images.requireTrusted(name))).digest;
  } catch (error) {
    if (!isHeptadError(error, 'IMAGE_NOT_FOUND')) throw error;
    if (pull === undefined) {
      throw new ContainerError(
        'IMAGE_NOT_FOUND',
        `cannot build: ${name}, which the Dockerfile builds on, is not here`,
        {
          cause: error,
          hint: `pull it first ("heptad image pull ${name}"), or load or build it`,
          details: { image: name },
        },
      );
    }
  }
  options.onProgress?.({ step: 'base', message: `pulling ${name}` });
  await pull(name);
  return (await images.inspect(await images.requireTrusted(name))).digest;
}
