// A container's changes as one more layer of its image.

import { createHash } from 'node:crypto';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { CommitOptions } from '@heptad/core';
import type { Digest } from '../../image/digest.ts';
import type { Image, ImageStore } from '../../image/image-store.ts';
import { type Descriptor, type ImageConfig, MEDIA_TYPE } from '../../image/manifest.ts';
import type { TarHeader } from '../../image/tar-header.ts';
import { TarReader } from '../../image/tar-reader.ts';
import { endOfArchive, entryBlocks, padding } from '../../image/tar-writer.ts';

const MAX_ENTRIES = 10_000_000;
const OVERLAY_PREFIX = 'trusted.overlay.';
const OPAQUE = 'trusted.overlay.opaque';
const GZIP_LEVEL = 1;

/**
 * An archive of an overlay's upper directory as an OCI layer: whiteouts (character devices 0/0) become empty files
 * `.wh.NAME`, opaque directories get a `.wh..wh..opq`, and overlayfs's own attributes stay here.
 */
export async function* asLayer(
  upper: AsyncIterable<Uint8Array>,
  ignored: ReadonlySet<string>,
): AsyncGenerator<Uint8Array> {
  const reader = new TarReader(upper, { maxEntries: MAX_ENTRIES });
  try {
    for (let header = await reader.next(); header !== undefined; header = await reader.next()) {
      const name = header.name.replace(/^\.\//, '').replace(/\/+$/, '');
      if (name === '' || name === '.' || ignored.has(`/${Buffer.from(name, 'latin1').toString()}`)) continue;
      if (header.type === 'character-device' && header.devMajor === 0 && header.devMinor === 0) {
        yield entryBlocks(marker(header, beside(name, '.wh.')));
        continue;
      }
      const xattrs = new Map([...header.xattrs].filter(([key]) => !key.startsWith(OVERLAY_PREFIX)));
      yield entryBlocks({ ...header, name: header.type === 'directory' ? `${name}/` : name, xattrs });
      for (let chunk = await reader.chunk(); chunk !== undefined; chunk = await reader.chunk())
        yield Buffer.from(chunk);
      yield padding(header.size);
      if (header.xattrs.get(OPAQUE)?.toString() === 'y')
        yield entryBlocks(marker(header, `${name}/.wh..wh..opq`));
    }
    yield endOfArchive();
  } finally {
    await reader.close();
  }
}

function beside(name: string, prefix: string): string {
  const slash = name.lastIndexOf('/') + 1;
  return `${name.slice(0, slash)}${prefix}${name.slice(slash)}`;
}

function marker(header: TarHeader, name: string): TarHeader {
  const empty = {
    type: 'file',
    flag: '0',
    size: 0,
    mode: 0o644,
    linkName: '',
    devMajor: 0,
    devMinor: 0,
  } as const;
  return { ...header, ...empty, name, xattrs: new Map() };
}

/** Stores the layer, config and manifest of the new image, and names it when asked. */
export async function commitImage(
  images: ImageStore,
  base: Image,
  layer: AsyncIterable<Uint8Array>,
  options: CommitOptions,
): Promise<Digest> {
  const ref = `commit-${images.random.uuid(images.clock.now())}`;
  // Until a name leads to them, a collection must not take the parts away.
  await using lease = await images.leases.create();
  const parts = ['layer', 'config', 'manifest'].map((part) => `${ref}-${part}`);
  await lease.add(...parts.map((id) => ({ kind: 'ingest' as const, id })));
  const written = await storeLayer(images, `${ref}-layer`, layer);
  await lease.add({ kind: 'content', id: written.descriptor.digest });
  const created = new Date(images.clock.now()).toISOString();
  const { config } = base;
  const history = {
    created,
    created_by: 'heptad commit',
    ...(options.message === undefined ? {} : { comment: options.message }),
  };
  const newConfig = {
    ...config,
    created,
    ...(options.author === undefined ? {} : { author: options.author }),
    config: changed(config.config, options.changes ?? {}),
    rootfs: { type: 'layers', diff_ids: [...config.rootfs.diff_ids, written.diffId] },
    history: [...(config.history ?? []), history],
  };
  const configDescriptor = await storeJson(images, `${ref}-config`, MEDIA_TYPE.config, newConfig);
  await lease.add({ kind: 'content', id: configDescriptor.digest });
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config: configDescriptor,
    layers: [...base.manifest.layers, written.descriptor],
  };
  const descriptor = await storeJson(images, `${ref}-manifest`, MEDIA_TYPE.manifest, manifest);
  if (options.reference !== undefined) await images.setTag(options.reference, descriptor);
  return descriptor.digest;
}

function changed(
  config: ImageConfig['config'],
  changes: NonNullable<CommitOptions['changes']>,
): ImageConfig['config'] {
  const environment = new Map(
    (config.Env ?? []).map((line): [string, string] => [line.slice(0, line.indexOf('=')), line]),
  );
  for (const [name, value] of Object.entries(changes.environment ?? {}))
    environment.set(name, `${name}=${value}`);
  return {
    ...config,
    Env: [...environment.values()],
    ...(changes.entrypoint === undefined ? {} : { Entrypoint: changes.entrypoint }),
    ...(changes.command === undefined ? {} : { Cmd: changes.command }),
    ...(changes.workingDirectory === undefined ? {} : { WorkingDir: changes.workingDirectory }),
    ...(changes.user === undefined ? {} : { User: changes.user }),
    ...(changes.stopSignal === undefined ? {} : { StopSignal: changes.stopSignal }),
    ...(changes.labels === undefined ? {} : { Labels: { ...config.Labels, ...changes.labels } }),
  };
}

async function storeLayer(
  images: ImageStore,
  ref: string,
  layer: AsyncIterable<Uint8Array>,
): Promise<{ descriptor: Descriptor; diffId: Digest }> {
  const hash = createHash('sha256');
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  const gzip = createGzip({ level: GZIP_LEVEL });
  const flow = pipeline([Readable.from(layer), measure, gzip]);
  const [{ digest, size }] = await Promise.all([images.content.ingest(ref, gzip), flow]);
  return {
    descriptor: { mediaType: MEDIA_TYPE.layerGzip, digest, size },
    diffId: `sha256:${hash.digest('hex')}`,
  };
}

async function storeJson(
  images: ImageStore,
  ref: string,
  mediaType: string,
  document: object,
): Promise<Descriptor> {
  const bytes = Buffer.from(JSON.stringify(document));
  const { digest, size } = await images.content.ingest(ref, Readable.from([bytes]));
  return { mediaType, digest, size };
}
