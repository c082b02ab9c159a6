// How an image came to be: the steps of its config, each with the layer it made.

import type { Digest } from './digest.ts';
import type { Image } from './image-store.ts';

/** One step, as in `docker history`. */
export interface ImageHistoryEntry {
  /** RFC 3339, as the builder wrote it. */
  readonly created?: string | undefined;
  /** The command or a sentence of the builder; empty when it said nothing. */
  readonly createdBy: string;
  readonly comment?: string | undefined;
  /** The layer it made, as stored; absent for a step that changed only the config. */
  readonly layer?: Digest;
  /** Bytes of the layer as stored (compressed); 0 without one. */
  readonly sizeBytes: number;
}

/** Steps, the newest first. Layers that the config says nothing of come as steps without words. */
export function historyOf({ manifest, config }: Image): ImageHistoryEntry[] {
  const layers = [...manifest.layers];
  const entries: ImageHistoryEntry[] = (config.history ?? []).map((step) => {
    const layer = step.empty_layer === true ? undefined : layers.shift();
    return {
      createdBy: step.created_by ?? '',
      sizeBytes: layer?.size ?? 0,
      ...(step.created === undefined ? {} : { created: step.created }),
      ...(step.comment === undefined ? {} : { comment: step.comment }),
      ...(layer === undefined ? {} : { layer: layer.digest }),
    };
  });
  for (const { digest, size } of layers) entries.push({ createdBy: '', layer: digest, sizeBytes: size });
  return entries.reverse();
}
