// Writes images as an OCI layout archive with the manifest.json of `docker save` beside it, so that both worlds read it.

import { createWriteStream } from 'node:fs';
import { rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import { ContainerError, diskError } from '../errors.ts';
import { syncDirectory, temporaryBeside } from '../system/files.ts';
import type { Digest } from './digest.ts';
import type { ImageStore } from './image-store.ts';
import { type Descriptor, MEDIA_TYPE } from './manifest.ts';
import { parseReference, taggedName } from './reference.ts';

/** A path (replaced as a whole once complete) or a stream, which is ended. */
export type ArchiveTarget = string | Writable;

interface SavedImage {
  readonly name: string;
  readonly manifest: Descriptor;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** See {@link ImageStore.save}. */
export async function saveArchive(
  store: ImageStore,
  references: readonly string[],
  target: ArchiveTarget,
): Promise<void> {
  if (references.length === 0)
    throw new ContainerError('INVALID_ARGUMENT', 'cannot save: no image was named');
  const images: SavedImage[] = [];
  for (const reference of references) images.push(await describe(store, reference));
  if (typeof target !== 'string') {
    await writeTo(store, images, target);
    return;
  }
  const temporary = temporaryBeside(target);
  try {
    await writeTo(store, images, createWriteStream(temporary, { flush: true }));
    await rename(temporary, target);
    await syncDirectory(dirname(target));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw diskError(error, `write ${target}`);
  }
}

async function describe(store: ImageStore, reference: string): Promise<SavedImage> {
  const image = await store.inspect(reference);
  const info = await store.content.info(image.digest);
  const parsed = /^sha256:/.test(reference) ? undefined : parseReference(reference);
  return {
    name: parsed === undefined ? `saved:${image.digest.slice(7, 19)}` : taggedName(parsed),
    manifest: {
      mediaType: image.manifest.mediaType ?? MEDIA_TYPE.manifest,
      digest: image.digest,
      size: info?.size ?? 0,
    },
    config: image.manifest.config,
    layers: image.manifest.layers,
  };
}

async function writeTo(store: ImageStore, images: readonly SavedImage[], target: Writable): Promise<void> {
  const pack = tar.pack();
  const flow = pipeline(pack as unknown as Readable, target);
  // Awaited below; when filling fails first, its error is the one to report.
  flow.catch(() => undefined);
  try {
    await fill(store, images, pack);
    pack.finalize();
  } catch (error) {
    pack.destroy();
    await flow.catch(() => undefined);
    throw error;
  }
  await flow;
}

async function fill(store: ImageStore, images: readonly SavedImage[], pack: tar.Pack): Promise<void> {
  const document = (name: string, value: unknown): void => {
    pack.entry({ name, mode: 0o644, mtime: new Date(0) }, `${JSON.stringify(value)}`);
  };
  document('oci-layout', { imageLayoutVersion: '1.0.0' });
  document('index.json', {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.index,
    manifests: images.map(({ name, manifest }) => ({
      ...manifest,
      annotations: {
        'io.containerd.image.name': name,
        'org.opencontainers.image.ref.name': name,
      },
    })),
  });
  document(
    'manifest.json',
    images.map(({ name, config, layers }) => ({
      Config: blobPath(config.digest),
      RepoTags: [name],
      Layers: layers.map(({ digest }) => blobPath(digest)),
    })),
  );
  const parts = images.flatMap(({ manifest, config, layers }) => [manifest, config, ...layers]);
  const unique = new Map(parts.map((part) => [part.digest, part]));
  for (const part of unique.values()) await copyBlob(store, part, pack);
}

async function copyBlob(store: ImageStore, part: Descriptor, pack: tar.Pack): Promise<void> {
  const source = await store.content.read(part.digest);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const entry = pack.entry(
    { name: blobPath(part.digest), size: part.size, mode: 0o644, mtime: new Date(0) },
    (error) => (error ? reject(error) : resolve()),
  );
  source.on('error', (error) => entry.destroy(error));
  source.pipe(entry as unknown as Writable);
  await promise;
}

function blobPath(digest: Digest): string {
  return `blobs/sha256/${digest.slice('sha256:'.length)}`;
}
