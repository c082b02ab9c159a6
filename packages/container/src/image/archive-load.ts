// Reads an OCI layout archive (or what `docker save` writes): blobs are verified as they stream in, names come last.

import { createReadStream } from 'node:fs';
import { addAbortSignal, pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { isHeptadError } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import { type ArchiveContent, loadDockerImages } from './docker-archive.ts';
import type { ImageStore, ImageTag } from './image-store.ts';
import { oversizedEntry } from './layer-errors.ts';
import type { Lease } from './leases.ts';
import { type Descriptor, isIndex, MAX_MANIFEST_BYTES, parseIndex, parseManifest } from './manifest.ts';
import type { TarHeader } from './tar-header.ts';
import { TarReader } from './tar-reader.ts';
import { unzstd } from './zstd-frames.ts';

/** Options of {@link ImageStore.load}. */
export interface LoadOptions {
  readonly signal?: AbortSignal;
  /** Bytes read so far, for a progress display. */
  readonly onProgress?: (progress: { readonly bytes: number }) => void;
}

const NAME_ANNOTATIONS = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];
const MAX_ENTRIES = 100_000;
// Documents are held in memory: an archive of a hundred images has less than a tenth of this.
const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;
const PROGRESS_STEP_BYTES = 4 * 1024 * 1024;

/** See {@link ImageStore.load}. */
export async function loadArchive(
  store: ImageStore,
  source: string | AsyncIterable<Uint8Array>,
  options: LoadOptions,
): Promise<ImageTag[]> {
  const what = typeof source === 'string' ? source : 'the archive';
  // Names come last; until then a collection, in whatever process, must leave the content alone.
  await using lease = await store.leases.create();
  try {
    const content = await readArchive(store, source, lease, options);
    const index = content.documents.get('index.json');
    if (index !== undefined) return await loadLayout(store, index, what);
    const manifest = content.documents.get('manifest.json');
    if (manifest !== undefined) return await loadDockerImages(store, content, manifest, what, lease);
    throw new ContainerError(
      'ARCHIVE_INVALID',
      `${what} holds no image: it has neither index.json nor manifest.json`,
      {
        hint: 'give an archive made by ImageStore.save, docker save or skopeo copy to oci-archive:',
      },
    );
  } catch (error) {
    options.signal?.throwIfAborted();
    if (isHeptadError(error)) throw error;
    if (errnoOf(error) === 'ENOENT' && typeof source === 'string') {
      throw new ContainerError('PATH_NOT_FOUND', `cannot load ${source}: there is no such file`, {
        cause: error,
      });
    }
    throw new ContainerError(
      'ARCHIVE_INVALID',
      `cannot read ${what}: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
        hint: 'the file is not a tar archive, or it is cut short',
      },
    );
  }
}

async function readArchive(
  store: ImageStore,
  source: string | AsyncIterable<Uint8Array>,
  lease: Lease,
  options: LoadOptions,
): Promise<ArchiveContent> {
  const input: AsyncIterable<Uint8Array> =
    typeof source === 'string' ? createReadStream(source, { highWaterMark: CHUNK_BYTES }) : source;
  const chunks = input[Symbol.asyncIterator]();
  const first = await chunks.next();
  const whole = Readable.from(replay(first, chunks, options));
  if (options.signal !== undefined) addAbortSignal(options.signal, whole);
  const magic = first.done === true ? Buffer.alloc(0) : Buffer.from(first.value.subarray(0, 4));
  const reader = new TarReader(decompress(whole, magic), { maxEntries: MAX_ENTRIES });
  const content: ArchiveContent = { documents: new Map(), files: new Map(), links: new Map() };
  const held = { bytes: 0 };
  try {
    for (let header = await reader.next(); header !== undefined; header = await reader.next())
      await readEntry(store, content, { header, reader, held }, lease);
  } finally {
    await reader.close();
    await chunks.return?.();
  }
  return content;
}

function decompress(archive: Readable, magic: Buffer): AsyncIterable<Uint8Array> {
  if (magic.toString('hex').startsWith('1f8b'))
    // The error, if any, comes out where the stage is read.
    return pipeline(archive, createGunzip({ chunkSize: CHUNK_BYTES }), () => undefined);
  return magic.toString('hex') === '28b52ffd' ? unzstd(archive, CHUNK_BYTES) : archive;
}

/** An entry being read. */
interface ArchiveEntry {
  readonly header: TarHeader;
  readonly reader: TarReader;
  /** Bytes of documents held in memory so far. */
  readonly held: { bytes: number };
}

async function* contentOf({ reader }: ArchiveEntry): AsyncGenerator<Uint8Array> {
  for (let chunk = await reader.chunk(); chunk !== undefined; chunk = await reader.chunk()) yield chunk;
}

async function readEntry(
  store: ImageStore,
  content: ArchiveContent,
  entry: ArchiveEntry,
  lease: Lease,
): Promise<void> {
  const { header } = entry;
  // Names of these archives are text; one that is not is none of theirs.
  const name = Buffer.from(header.name, 'latin1')
    .toString('utf8')
    .replace(/^(\.\/)+/, '');
  if (header.type === 'symlink' || header.type === 'link') {
    content.links.set(name, Buffer.from(header.linkName, 'latin1').toString('utf8'));
    return;
  }
  if (header.type !== 'file') return;
  const blob = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1];
  const { size } = header;
  const ref = `load-${store.random.uuid(store.clock.now())}`;
  if (blob !== undefined) {
    const expected = { digest: `sha256:${blob}`, size };
    const info = await store.content.ingest(ref, contentOf(entry), expected, lease);
    content.files.set(name, { digest: info.digest, size });
  } else if (/\.json$|^oci-layout$|^repositories$/.test(name) && size <= MAX_MANIFEST_BYTES) {
    entry.held.bytes += size;
    if (entry.held.bytes > MAX_DOCUMENT_BYTES)
      throw oversizedEntry(
        header.name,
        'TOO_MANY_BYTES',
        `takes the documents over ${MAX_DOCUMENT_BYTES} bytes`,
      );
    content.documents.set(name, await collect(contentOf(entry)));
  } else if (name.endsWith('layer.tar') || name.endsWith('.tar')) {
    const info = await store.content.ingest(ref, contentOf(entry), { size }, lease);
    content.files.set(name, { digest: info.digest, size });
  }
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

async function loadLayout(store: ImageStore, bytes: Uint8Array, what: string): Promise<ImageTag[]> {
  const index = parseIndex(bytes, `index.json of ${what}`);
  if (index.manifests.length === 0)
    throw new ContainerError('ARCHIVE_INVALID', `${what} holds no image: its index is empty`);
  const tags: ImageTag[] = [];
  for (const entry of index.manifests) {
    await requireComplete(store, entry, what);
    const name = imageName(entry);
    const { annotations: _, platform: __, ...target } = entry;
    // Without a name it would be garbage at once, so it gets one from its digest.
    tags.push(await store.setTag(name ?? `loaded:${entry.digest.slice(7, 19)}`, target));
  }
  return tags;
}

function imageName(entry: Descriptor): string | undefined {
  for (const key of NAME_ANNOTATIONS) {
    const value = entry.annotations?.[key];
    if (value !== undefined && value !== '') return value;
  }
  return undefined;
}

/** An image whose layers are only partly in the archive is refused now, not when it is started. */
async function requireComplete(store: ImageStore, target: Descriptor, what: string): Promise<void> {
  await requireBlob(store, target, what);
  const bytes = await store.content.readBytes(target.digest, MAX_MANIFEST_BYTES);
  if (isIndex(target)) {
    const children = parseIndex(bytes).manifests;
    const here = [];
    for (const child of children)
      if ((await store.content.info(child.digest)) !== undefined) here.push(child);
    if (here.length === 0)
      throw new ContainerError('ARCHIVE_INVALID', `${what} holds an index, but none of its images`);
    for (const child of here) await requireComplete(store, child, what);
    return;
  }
  const manifest = parseManifest(bytes);
  for (const part of [manifest.config, ...manifest.layers]) await requireBlob(store, part, what);
}

async function requireBlob(store: ImageStore, part: Descriptor, what: string): Promise<void> {
  const info = await store.content.info(part.digest);
  if (info?.size === part.size) return;
  const why = info === undefined ? 'is missing' : `has ${info.size} bytes instead of ${part.size}`;
  throw new ContainerError('ARCHIVE_INVALID', `${what} is incomplete: ${part.digest} ${why}`, {
    hint: 'make the archive again',
    details: { digest: part.digest },
  });
}

/** The chunk already taken for a look at it, and all that follow. */
async function* replay(
  first: IteratorResult<Uint8Array>,
  rest: AsyncIterator<Uint8Array>,
  options: LoadOptions,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  let told = 0;
  const tell = (chunk: Uint8Array): void => {
    bytes += chunk.length;
    if (bytes - told < PROGRESS_STEP_BYTES) return;
    told = bytes;
    options.onProgress?.({ bytes });
  };
  for (let next = first; next.done !== true; next = await rest.next()) {
    tell(next.value);
    yield next.value;
  }
  options.onProgress?.({ bytes });
}
