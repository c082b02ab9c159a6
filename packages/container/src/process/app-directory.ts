// The application of an image built by buildNodeImage, extracted once and shared by all its containers.

import { mkdir, mkdtemp, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { APP_DIRECTORY, APP_LAYER_ANNOTATION } from '../build/app-files.ts';
import { ContainerError, diskError, errnoOf } from '../errors.ts';
import { chainIds, digestHex } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { DEFAULT_LAYER_LIMITS } from '../image/layer-limits.ts';
import type { ImageConfig } from '../image/manifest.ts';
import { extractLayer } from '../image/stream-layer.ts';
import { runOrThrow } from '../system/command.ts';
import { ensureDirectory, removeTree } from '../system/files.ts';
import type { PathMapping } from './translate.ts';

/** Dependencies and application: what a plain process sees of an image. */
const APP_LAYERS = new Set(['dependencies', 'app']);

/** An application as a directory of this machine. */
export interface AppDirectory {
  readonly directory: string;
  readonly config: ImageConfig['config'];
  readonly mappings: readonly PathMapping[];
  readonly digest: string | undefined;
}

/** Extracts the application layers of an image. Throws `IMAGE_NOT_FOUND`, `NOT_SUPPORTED` for images without one. */
export async function appDirectory(
  images: ImageStore,
  home: string,
  reference: string,
): Promise<AppDirectory> {
  const image = await images.inspect(reference);
  const layers = image.manifest.layers.flatMap((layer, index) => {
    const diffId = image.config.rootfs.diff_ids[index];
    const isOurs = APP_LAYERS.has(layer.annotations?.[APP_LAYER_ANNOTATION] ?? '');
    return isOurs && diffId !== undefined ? [{ layer, diffId }] : [];
  });
  const top = chainIds(layers.map(({ diffId }) => diffId)).at(-1);
  if (top === undefined) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot run image ${reference} as a plain process: it was not built by buildNodeImage`,
      {
        hint: 'the oci runtime runs any image',
        details: { driver: 'oci' },
      },
    );
  }
  const apps = join(home, 'apps');
  const root = join(apps, digestHex(top));
  if ((await stat(root).catch(() => undefined)) === undefined) {
    await ensureDirectory(apps);
    const temporary = await mkdtemp(join(apps, 'tmp-'));
    try {
      const fs = join(temporary, 'fs');
      await mkdir(fs);
      for (const { layer, diffId } of layers) {
        await extractLayer(images.content, layer, diffId, {
          root: fs,
          layout: 'plain',
          lowers: async () => [],
          limits: DEFAULT_LAYER_LIMITS,
        });
      }
      // A name must never lead to empty files after a power cut.
      await runOrThrow('sync', ['-f', fs], { timeoutMs: 300_000 });
      await rename(fs, root).catch((error: unknown) => {
        if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
      });
    } catch (error) {
      throw diskError(error, `extract the application of ${reference}`);
    } finally {
      await removeTree(temporary);
    }
  }
  const directory = join(root, APP_DIRECTORY);
  return {
    directory,
    config: image.config.config,
    mappings: [{ target: APP_DIRECTORY, source: directory }],
    digest: image.digest,
  };
}
