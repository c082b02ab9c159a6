// Writes a layer archive that depends on its content only: sorted entries, fixed times and owners, fixed compression.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type Readable, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { isHeptadError } from '@heptad/core';
import tar from 'tar-stream';
import type { ContentStore } from './content-store.ts';
import type { Digest } from './digest.ts';
import type { Lease } from './leases.ts';
import { type Descriptor, MEDIA_TYPE } from './manifest.ts';

/** One entry to write. Paths have no leading slash. */
export type LayerEntry =
  | {
      readonly type: 'directory';
      readonly path: string;
      readonly mode: number;
      readonly uid?: number;
      readonly gid?: number;
    }
  | { readonly type: 'symlink'; readonly path: string; readonly target: string }
  | {
      readonly type: 'file';
      readonly path: string;
      readonly mode: number;
      readonly content: string | Uint8Array;
    }
  | {
      readonly type: 'copy';
      readonly path: string;
      readonly mode: number;
      readonly source: string;
      readonly size: number;
    };

/** A written layer. */
export interface WrittenLayer {
  readonly descriptor: Descriptor;
  /** Digest of the uncompressed archive. */
  readonly diffId: Digest;
}

/** How a layer is written. */
export interface LayerWriting {
  /** Time of every entry, milliseconds since 1970. Default 0: any other time makes equal inputs give different images. */
  readonly mtimeMs?: number;
  readonly signal?: AbortSignal;
  /** Bytes of the uncompressed archive so far. */
  readonly onBytes?: (bytes: number) => void;
  /** Keeps the layer until something refers to it. */
  readonly lease?: Pick<Lease, 'add'>;
}

// Level 6 makes a Node binary 10 % smaller than level 1 and takes three times as long; images here rarely travel.
const GZIP_LEVEL = 1;

/** Writes `entries` (parents are added) to the content store. Equal entries give equal bytes. */
export async function writeLayer(
  content: ContentStore,
  ref: string,
  entries: readonly LayerEntry[],
  options: LayerWriting = {},
): Promise<WrittenLayer> {
  // A pipeline that is born aborted emits errors that nobody listens to yet.
  options.signal?.throwIfAborted();
  const pack = tar.pack();
  const hash = createHash('sha256');
  let bytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.length;
      options.onBytes?.(bytes);
      done(null, chunk);
    },
  });
  const gzip = createGzip({ level: GZIP_LEVEL, chunkSize: 256 * 1024 });
  const flow = pipeline([pack as unknown as Readable, measure, gzip], { signal: options.signal });
  const stored = content.ingest(ref, gzip, {}, options.lease);
  const filled = fill(pack, sortEntries(entries), new Date(options.mtimeMs ?? 0));
  try {
    await Promise.all([filled, flow, stored]);
  } catch (error) {
    pack.destroy();
    gzip.destroy();
    const outcomes = await Promise.allSettled([filled, flow, stored]);
    // A full disk ends the flow too; what the store says of it is the reason, the rest its consequence.
    const reasons = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    throw reasons.find((reason) => isHeptadError(reason)) ?? error;
  }
  const { digest, size } = await stored;
  return {
    descriptor: { mediaType: MEDIA_TYPE.layerGzip, digest, size },
    diffId: `sha256:${hash.digest('hex')}`,
  };
}

/** Entries by path with every missing parent directory added; of two with one path the later counts. */
export function sortEntries(entries: readonly LayerEntry[]): LayerEntry[] {
  const byPath = new Map<string, LayerEntry>();
  for (const entry of entries) {
    const parts = entry.path.split('/');
    for (let length = 1; length < parts.length; length += 1) {
      const path = parts.slice(0, length).join('/');
      if (!byPath.has(path)) byPath.set(path, { type: 'directory', path, mode: 0o755 });
    }
    byPath.set(entry.path, entry);
  }
  // By code unit, not by locale: the order must be the same on every machine.
  return [...byPath.values()].sort((one, other) =>
    one.path < other.path ? -1 : one.path > other.path ? 1 : 0,
  );
}

async function fill(pack: tar.Pack, entries: readonly LayerEntry[], mtime: Date): Promise<void> {
  for (const entry of entries) await writeEntry(pack, entry, mtime);
  pack.finalize();
}

function writeEntry(pack: tar.Pack, entry: LayerEntry, mtime: Date): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const done = (error?: Error | null): void => (error ? reject(error) : resolve());
  const common = { uid: 0, gid: 0, mtime } as const;
  switch (entry.type) {
    case 'directory':
      pack.entry(
        {
          ...common,
          uid: entry.uid ?? 0,
          gid: entry.gid ?? 0,
          name: `${entry.path}/`,
          type: 'directory',
          mode: entry.mode,
        },
        done,
      );
      break;
    case 'symlink':
      pack.entry({ ...common, name: entry.path, type: 'symlink', linkname: entry.target, mode: 0o777 }, done);
      break;
    case 'file':
      pack.entry({ ...common, name: entry.path, mode: entry.mode }, Buffer.from(entry.content), done);
      break;
    case 'copy': {
      const target = pack.entry({ ...common, name: entry.path, mode: entry.mode, size: entry.size }, done);
      const source = createReadStream(entry.source, { highWaterMark: 1024 * 1024 });
      source.on('error', (error) => target.destroy(error));
      // The archive's end in the middle of a file ends the entry too, and an error nobody hears ends the process.
      target.on('error', (error) => {
        source.destroy();
        reject(error);
      });
      source.pipe(target as unknown as Writable);
      break;
    }
  }
  return promise;
}
