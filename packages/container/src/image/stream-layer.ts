// A layer from the store through decompression and the DiffID check into a directory.

import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { isHeptadError } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import type { ContentStore } from './content-store.ts';
import type { Digest } from './digest.ts';
import { LayerExtractor, type LayerResult, type LayerTarget } from './extract-layer.ts';
import { oversizedEntry } from './layer-errors.ts';
import type { LayerLimits } from './layer-limits.ts';
import type { Descriptor } from './manifest.ts';
import { TarReader } from './tar-reader.ts';
import { unzstd } from './zstd-frames.ts';

// Fewer, larger pieces: each is a trip through the thread pool.
const CHUNK_BYTES = 512 * 1024;
// Header, extended header and padding of an entry, for the bound on the whole archive.
const OVERHEAD_PER_ENTRY_BYTES = 2_048;

/**
 * Streams a layer from the store through decompression and the DiffID check into a directory.
 * Throws `UNSAFE_ARCHIVE`, `ARCHIVE_TOO_LARGE`, `ARCHIVE_INVALID`, `DIGEST_MISMATCH`, `NOT_SUPPORTED`.
 */
export async function extractLayer(
  content: ContentStore,
  layer: Descriptor,
  diffId: Digest,
  target: LayerTarget,
): Promise<LayerResult> {
  const hash = createHash('sha256');
  let name = 'before the first';
  const archive = await decompress(content, layer);
  const guarded = guard(archive, layer.size, target.limits, {
    seen: (chunk) => hash.update(chunk),
    entry: () => name,
  });
  const reader = new TarReader(guarded, target.limits);
  const extractor = new LayerExtractor(target);
  try {
    for (let header = await reader.next(); header !== undefined; header = await reader.next()) {
      name = header.name;
      await extractor.apply(header, reader);
    }
  } catch (error) {
    // Ours, or the disk's: those of zlib have other codes.
    if (isHeptadError(error) || /^E[A-Z0-9]+$/.test(errnoOf(error) ?? '')) throw error;
    throw new ContainerError(
      'ARCHIVE_INVALID',
      `cannot unpack layer ${layer.digest}, after entry "${name}": ${error instanceof Error ? error.message : String(error)}`,
      { cause: error, hint: 'fetch or build the image again' },
    );
  } finally {
    await reader.close();
  }
  const actual = `sha256:${hash.digest('hex')}`;
  if (actual !== diffId) {
    throw new ContainerError(
      'DIGEST_MISMATCH',
      `refused layer ${layer.digest}: uncompressed it is ${actual}, the image says ${diffId}`,
      { hint: 'the image is broken or was tampered with' },
    );
  }
  return await extractor.finish();
}

async function decompress(content: ContentStore, layer: Descriptor): Promise<AsyncIterable<Uint8Array>> {
  const compression = compressionOf(layer.mediaType);
  const source = await content.read(layer.digest);
  if (compression === 'none') return source;
  if (compression === 'zstd') return unzstd(source, CHUNK_BYTES);
  // The error, if any, comes out where the stage is read.
  return pipeline(source, createGunzip({ chunkSize: CHUNK_BYTES }), () => undefined);
}

/** Passes the archive on, and stops it when it grows beyond what its compressed size can account for. */
async function* guard(
  archive: AsyncIterable<Uint8Array>,
  compressedBytes: number,
  limits: LayerLimits,
  watch: { seen: (chunk: Uint8Array) => void; entry: () => string },
): AsyncGenerator<Uint8Array> {
  const ceiling = limits.maxBytes + limits.maxEntries * OVERHEAD_PER_ENTRY_BYTES;
  const suspicious = Math.max(limits.ratioFloorBytes, compressedBytes * limits.maxRatio);
  let bytes = 0;
  for await (const chunk of archive) {
    // What came before is read by now, so that the entry in which it went too far is known.
    if (bytes > ceiling)
      throw oversizedEntry(
        watch.entry(),
        'TOO_MANY_BYTES',
        `lies in an archive of more than ${ceiling} bytes`,
      );
    if (bytes > suspicious) {
      throw oversizedEntry(
        watch.entry(),
        'RATIO',
        `lies in an archive that is more than ${limits.maxRatio} times larger than its ${compressedBytes} compressed bytes`,
      );
    }
    bytes += chunk.length;
    watch.seen(chunk);
    yield chunk;
  }
}

/** How a layer is compressed, by its media type. Throws `NOT_SUPPORTED`. */
export function compressionOf(mediaType: string): 'gzip' | 'zstd' | 'none' {
  if (mediaType.endsWith('+gzip') || mediaType.endsWith('.tar.gzip')) return 'gzip';
  if (mediaType.endsWith('+zstd') || mediaType.endsWith('.tar.zstd')) return 'zstd';
  if (mediaType.endsWith('.tar')) return 'none';
  throw new ContainerError('NOT_SUPPORTED', `cannot unpack a layer of type ${mediaType}`, {
    hint: 'plain, gzip and zstd compressed tar layers are supported',
  });
}
