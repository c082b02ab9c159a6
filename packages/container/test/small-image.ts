// Small images made by hand, so that tests of transfers do not carry a Node binary around.

import type { Descriptor, ImageStore } from '@heptad/container';
import { digestOf } from '../src/image/digest.ts';
import { writeLayer } from '../src/image/layer-writer.ts';
import { MEDIA_TYPE } from '../src/image/manifest.ts';

/** What to make. */
export interface SmallImage {
  readonly name: string;
  /** Files of each layer, bottom first. */
  readonly layers: readonly Readonly<Record<string, string | Uint8Array>>[];
  readonly architecture?: string;
  readonly variant?: string;
}

/** Stores bytes and says where. */
export async function putBlob(images: ImageStore, mediaType: string, value: unknown): Promise<Descriptor> {
  const bytes = value instanceof Uint8Array ? value : Buffer.from(JSON.stringify(value));
  const digest = digestOf(bytes);
  if ((await images.content.info(digest)) === undefined)
    await images.content.ingest(`test-${digest}`, [bytes], { digest });
  return { mediaType, digest, size: bytes.length };
}

/** Makes an image in the store and returns its manifest's descriptor. */
export async function makeImage(images: ImageStore, image: SmallImage): Promise<Descriptor> {
  const layers: Descriptor[] = [];
  const diffIds: string[] = [];
  for (const files of image.layers) {
    const entries = Object.entries(files).map(([path, content]) => ({
      type: 'file' as const,
      path,
      mode: 0o644,
      content,
    }));
    const written = await writeLayer(images.content, `layer-${image.name}-${layers.length}`, entries);
    layers.push(written.descriptor);
    diffIds.push(written.diffId);
  }
  const config = await putBlob(images, MEDIA_TYPE.config, {
    architecture: image.architecture ?? (process.arch === 'x64' ? 'amd64' : process.arch),
    os: 'linux',
    ...(image.variant === undefined ? {} : { variant: image.variant }),
    config: { Cmd: ['/bin/true'] },
    rootfs: { type: 'layers', diff_ids: diffIds },
  });
  const target = await putBlob(images, MEDIA_TYPE.manifest, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config,
    layers,
  });
  await images.setTag(image.name, target);
  return target;
}
