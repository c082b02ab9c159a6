// A layer from the store through decompression and the DiffID check into a directory.

import { createHash } from 'node:crypto';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { isHeptadError } from '@heptad/core';
import tar from 'tar-stream';
import { ContainerError, errnoOf } from '../errors.ts';
import type { ContentStore } from './content-store.ts';
import type { Digest } from './digest.ts';
import { LayerExtractor, type LayerResult, type LayerTarget } from './extract-layer.ts';
import type { Descriptor } from './manifest.ts';

// Each chunk costs a turn of the thread pool; the default of 16 KiB would make a large layer 20,000 turns.
const DECOMPRESSED_CHUNK_BYTES = 256 * 1024;

/** Streams a layer from the store through decompression and the DiffID check into a directory. */
export async function extractLayer(
  content: ContentStore,
  layer: Descriptor,
  diffId: Digest,
  target: LayerTarget,
): Promise<LayerResult> {
  const hash = createHash('sha256');
  const archive = tar.extract();
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  const source = await content.read(layer.digest);
  const stages = [source, ...decompressors(layer.mediaType), measure, archive];
  const flow = pipeline(stages);
  // Awaited below; when an entry is refused first, destroying the archive makes this reject, and that is not news.
  flow.catch(() => undefined);
  const extractor = new LayerExtractor(target);
  try {
    for await (const entry of archive) {
      await extractor.apply(entry.header, entry as never);
      entry.resume();
    }
    await flow;
  } catch (error) {
    archive.destroy();
    source.destroy();
    if (isHeptadError(error) || errnoOf(error)?.startsWith('E') === true) throw error;
    throw new ContainerError('ARCHIVE_INVALID', `cannot unpack layer ${layer.digest}: ${String(error)}`, {
      cause: error,
    });
  }
  const actual = `sha256:${hash.digest('hex')}`;
  if (actual !== diffId) {
    throw new ContainerError(
      'DIGEST_MISMATCH',
      `refused layer ${layer.digest}: uncompressed it is ${actual}, the image says ${diffId}`,
      {
        hint: 'the image is broken or was tampered with',
      },
    );
  }
  return await extractor.finish();
}

/** The stream that undoes a media type's compression, if it has one. */
function decompressors(mediaType: string): Transform[] {
  const chunkSize = DECOMPRESSED_CHUNK_BYTES;
  if (mediaType.endsWith('+gzip') || mediaType.endsWith('.tar.gzip')) return [createGunzip({ chunkSize })];
  if (mediaType.endsWith('+zstd') || mediaType.endsWith('.tar.zstd'))
    return [createZstdDecompress({ chunkSize })];
  if (mediaType.endsWith('.tar')) return [];
  throw new ContainerError('NOT_SUPPORTED', `cannot unpack a layer of type ${mediaType}`, {
    hint: 'plain tar layers and those compressed with gzip or zstd are supported',
  });
}
