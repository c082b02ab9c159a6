// Reads an OCI layout archive (or what `docker save` writes): blobs are verified as they stream in, names come last.

import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { isHeptadError } from '@heptad/core';
import tar from 'tar-stream';
import { ContainerError, errnoOf } from '../errors.ts';
import { type ArchiveContent, loadDockerImages } from './docker-archive.ts';
import type { ImageStore, ImageTag } from './image-store.ts';
import type { Lease } from './leases.ts';
import { type Descriptor, isIndex, MAX_MANIFEST_BYTES, parseIndex, parseManifest } from './manifest.ts';

/** Options of {@link ImageStore.load}. */
export interface LoadOptions {
  readonly signal?: AbortSignal;
  /** Bytes read so far, for a progress display. */
  readonly onProgress?: (progress: { readonly bytes: number }) => void;
}

const NAME_ANNOTATIONS = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];
const MAX_ENTRIES = 100_000;
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
    typeof source === 'string' ? createReadStream(source, { highWaterMark: 1024 * 1024 }) : source;
  const chunks = input[Symbol.asyncIterator]();
  const first = await chunks.next();
  const archive = tar.extract();
  const whole = Readable.from(replay(first, chunks, options));
  const gzipped = first.done !== true && first.value[0] === 0x1f && first.value[1] === 0x8b;
  const flow = pipeline(gzipped ? [whole, createGunzip(), archive] : [whole, archive], {
    signal: options.signal,
  });
  // Awaited below; a refusal of ours destroys the archive first, and then this rejection is not news.
  flow.catch(() => undefined);
  const content: ArchiveContent = { documents: new Map(), files: new Map(), links: new Map() };
  let entries = 0;
  try {
    for await (const entry of archive) {
      entries += 1;
      if (entries > MAX_ENTRIES)
        throw new ContainerError('LIMIT_EXCEEDED', `the archive has more than ${MAX_ENTRIES} entries`);
      await readEntry(store, content, entry, lease);
      entry.resume();
    }
    await flow;
  } catch (error) {
    archive.destroy();
    throw error;
  } finally {
    await chunks.return?.();
  }
  return content;
}

async function readEntry(
  store: ImageStore,
  content: ArchiveContent,
  entry: ArchiveEntry,
  lease: Lease,
): Promise<void> {
  const { header } = entry;
  const name = header.name.replace(/^(\.\/)+/, '');
  if (header.type === 'symlink' || header.type === 'link') {
    content.links.set(name, header.linkname ?? '');
    return;
  }
  if (header.type !== 'file') return;
  const blob = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1];
  const size = header.size ?? 0;
  const chunks = entry as unknown as AsyncIterable<Uint8Array>;
  const ref = `load-${store.random.uuid(store.clock.now())}`;
  if (blob !== undefined) {
    const info = await store.content.ingest(ref, chunks, { digest: `sha256:${blob}`, size }, lease);
    content.files.set(name, { digest: info.digest, size });
  } else if (/\.json$|^oci-layout$|^repositories$/.test(name) && size <= MAX_MANIFEST_BYTES) {
    content.documents.set(name, await collect(chunks));
  } else if (name.endsWith('layer.tar') || name.endsWith('.tar')) {
    const info = await store.content.ingest(ref, chunks, { size }, lease);
    content.files.set(name, { digest: info.digest, size });
  }
}

type ArchiveEntry = NonNullable<
  Awaited<ReturnType<ReturnType<tar.Extract[typeof Symbol.asyncIterator]>['next']>>['value']
>;

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
