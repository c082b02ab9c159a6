// Images made of raw layer archives, for tests of unpacking.

import { gzipSync } from 'node:zlib';
import type { ImageStore } from '@heptad/container';
import { digestOf } from '../src/image/digest.ts';
import { type Descriptor, hostArchitecture, MEDIA_TYPE } from '../src/image/manifest.ts';

/** A layer as it is stored: its archive, and how it is compressed. */
export interface RawLayer {
  readonly archive: Buffer;
  /** Default: gzip of the archive. */
  readonly stored?: Buffer;
  readonly mediaType?: string;
  /** Default: that of the archive. */
  readonly diffId?: string;
}

/** Names an image of these layers. */
export async function addRawImage(
  images: ImageStore,
  name: string,
  layers: readonly RawLayer[],
): Promise<void> {
  const put = async (bytes: Uint8Array, mediaType: string): Promise<Descriptor> => {
    const { digest, size } = await images.content.ingest(`test-${digestOf(bytes)}`, [bytes]);
    return { mediaType, digest, size };
  };
  const stored: Descriptor[] = [];
  for (const layer of layers)
    stored.push(
      await put(
        layer.stored ?? gzipSync(layer.archive, { level: 1 }),
        layer.mediaType ?? MEDIA_TYPE.layerGzip,
      ),
    );
  const config = {
    architecture: hostArchitecture(),
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: layers.map(({ archive, diffId }) => diffId ?? digestOf(archive)) },
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config: await put(Buffer.from(JSON.stringify(config)), MEDIA_TYPE.config),
    layers: stored,
  };
  await images.setTag(name, await put(Buffer.from(JSON.stringify(manifest)), MEDIA_TYPE.manifest));
}
