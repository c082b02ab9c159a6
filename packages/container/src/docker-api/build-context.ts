// The context of a build: the archive a client sent, laid out in a directory of its own, hostile entries refused.

import { mkdir, mkdtemp, realpath } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import type { Readable } from 'node:stream';
import { isHeptadError } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import { LayerExtractor } from '../image/extract-layer.ts';
import { DEFAULT_LAYER_LIMITS } from '../image/layer-limits.ts';
import { TarReader } from '../image/tar-reader.ts';
import { ensureDirectory, removeTree } from '../system/files.ts';
import { plainTar } from './plain-tar.ts';

/** A context on the disk; it goes when it is disposed of. */
export interface BuildContext extends AsyncDisposable {
  readonly directory: string;
}

/** Where contexts lie below an engine's home; what a crash left there goes when the API starts. */
export function contextsOf(home: string): string {
  return join(home, 'docker-api', 'builds');
}

/**
 * Unpacks an archive (tar, gzip, zstd) as a layer is unpacked: nothing outside the directory is written, devices are
 * refused, sizes are bounded. Throws `UNSAFE_ARCHIVE`, `ARCHIVE_TOO_LARGE`, `ARCHIVE_INVALID`, `NOT_SUPPORTED`.
 */
export async function unpackContext(home: string, archive: Readable): Promise<BuildContext> {
  await ensureDirectory(contextsOf(home));
  const own = await mkdtemp(join(contextsOf(home), 'build-'));
  const directory = join(own, 'context');
  const dispose = async (): Promise<void> => await removeTree(own);
  try {
    await mkdir(directory);
    await extract(archive, directory);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { directory, [Symbol.asyncDispose]: dispose };
}

async function extract(archive: Readable, root: string): Promise<void> {
  const limits = DEFAULT_LAYER_LIMITS;
  const reader = new TarReader(plainTar(archive), limits);
  const extractor = new LayerExtractor({ root, layout: 'plain', lowers: async () => [], limits });
  try {
    for (let header = await reader.next(); header !== undefined; header = await reader.next())
      await extractor.apply(header, reader);
    await extractor.finish();
  } catch (error) {
    // Ours, or the disk's: those of zlib have other codes.
    if (isHeptadError(error) || /^E[A-Z0-9]+$/.test(errnoOf(error) ?? '')) throw error;
    throw new ContainerError(
      'ARCHIVE_INVALID',
      'cannot unpack the build context: its compression is broken',
      {
        cause: error,
      },
    );
  } finally {
    await reader.close();
  }
}

/**
 * The path of a file of the context, or undefined when there is none. Throws `INVALID_ARGUMENT` for one that leads out of
 * it: by its name, or by a symbolic link, through which a build would read files of this machine.
 */
export async function fileOfContext(directory: string, name: string): Promise<string | undefined> {
  const path = resolve(directory, name);
  const inside = (real: string, root: string): boolean => real.startsWith(`${root}${sep}`);
  const real = await realpath(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  });
  if (inside(path, directory) && (real === undefined || inside(real, await realpath(directory))))
    return real === undefined ? undefined : path;
  throw new ContainerError('INVALID_ARGUMENT', `cannot build: ${name} is not within the build context`);
}
