// Sees to it that an image is on this machine before a container needs it, by one of three policies.

import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ImageStore } from '../image/image-store.ts';
import type { TransferEvent } from './progress.ts';
import type { PullOptions } from './pull.ts';
import type { RegistryClient } from './registry-client.ts';

/**
 * When an image is pulled: `missing` when it is not here, `always` to have what the registry has now, `never` not at
 * all.
 */
export type PullPolicy = 'missing' | 'always' | 'never';

/** Options of {@link ensureImage}. */
export interface EnsureImageOptions extends PullOptions {
  readonly policy: PullPolicy;
  readonly onProgress?: ((event: TransferEvent) => void) | undefined;
}

/** Pulls `reference` if the policy says so. Throws what a pull throws; for `missing` the message says that it was not here. */
export async function ensureImage(
  images: ImageStore,
  client: RegistryClient,
  reference: string,
  options: EnsureImageOptions,
): Promise<void> {
  const { policy, onProgress, ...pullOptions } = options;
  if (policy === 'never') return;
  if (policy === 'missing' && (await isHere(images, reference))) return;
  const pull = client.pull(images, reference, pullOptions);
  try {
    for await (const event of pull) onProgress?.(event);
  } catch (error) {
    if (policy === 'always' || !(error instanceof ContainerError)) throw error;
    throw new ContainerError(error.code, `image ${reference} is not on this machine, and ${error.message}`, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      retryable: error.retryable,
      details: error.details,
    });
  }
}

async function isHere(images: ImageStore, reference: string): Promise<boolean> {
  try {
    await images.parts(reference);
    return true;
  } catch (error) {
    // A part that was lost is as good as an image that was never here: pulling brings it back.
    if (isHeptadError(error, 'IMAGE_NOT_FOUND') || isHeptadError(error, 'STORE_CORRUPT')) return false;
    throw error;
  }
}
