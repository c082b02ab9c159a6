// Images of a Docker Engine: given as archives, or pulled by the engine. A resolved promise means that they are there.

import { createReadStream } from 'node:fs';
import { isHeptadError } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import { parseReference } from '../image/reference.ts';
import type { DockerConnection } from './connection.ts';
import { type DockerProgress, followProgress } from './json-stream.ts';

/** Options of {@link DockerRuntime.load} and {@link DockerRuntime.pull}. */
export interface DockerImageOptions {
  readonly onProgress?: (progress: DockerProgress) => void;
  readonly signal?: AbortSignal;
  /** For a pull from a registry that asks who we are. */
  readonly credentials?: { readonly username: string; readonly password: string };
}

/** See {@link DockerRuntime.load}. */
export async function loadImages(
  connection: DockerConnection,
  archive: string | AsyncIterable<Uint8Array>,
  options: DockerImageOptions,
): Promise<string[]> {
  const doing = typeof archive === 'string' ? `load ${archive} into Docker` : 'load an archive into Docker';
  const body = typeof archive === 'string' ? createReadStream(archive) : archive;
  const loaded: string[] = [];
  try {
    const stream = await connection.stream({
      method: 'POST',
      path: '/images/load',
      query: { quiet: false },
      headers: { 'Content-Type': 'application/x-tar' },
      body,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      doing,
    });
    await followProgress(stream, doing, (progress) => {
      const name = /^Loaded image(?: ID)?: (.+)$/.exec(progress.status)?.[1];
      if (name !== undefined) loaded.push(name);
      options.onProgress?.(progress);
    });
  } catch (error) {
    if (typeof archive === 'string' && errnoOf(error) === 'ENOENT' && !isHeptadError(error)) {
      throw new ContainerError('PATH_NOT_FOUND', `cannot ${doing}: there is no such file`, { cause: error });
    }
    throw error;
  }
  // The engine answers a stream that holds no image with silence.
  if (loaded.length === 0) {
    throw new ContainerError('ARCHIVE_INVALID', `cannot ${doing}: Docker found no image in it`, {
      hint: 'give an archive of `docker save`, ImageStore.save() or an OCI layout',
    });
  }
  return loaded;
}

/** See {@link DockerRuntime.pull}. */
export async function pullImage(
  connection: DockerConnection,
  reference: string,
  options: DockerImageOptions,
): Promise<void> {
  const { repository, tag, digest } = parseReference(reference);
  const doing = `pull ${reference} through Docker`;
  const { credentials, onProgress = () => undefined } = options;
  const auth =
    credentials === undefined
      ? undefined
      : { 'X-Registry-Auth': Buffer.from(JSON.stringify(credentials)).toString('base64url') };
  const stream = await connection.stream({
    method: 'POST',
    path: '/images/create',
    query: { fromImage: repository, tag: digest ?? tag },
    ...(auth === undefined ? {} : { headers: auth }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    doing,
  });
  await followProgress(stream, doing, onProgress);
}
