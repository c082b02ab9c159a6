// Takes a container off all its networks: interfaces first, then the namespace that they were in.

import type { ContainerId } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { NetworkBackend } from './backend.ts';

/** Best effort on every network; throws `NETWORK_FAILED` with all that went wrong. One `removed` is no member any more. */
export async function leaveNetworks(
  networks: readonly NetworkBackend[],
  id: ContainerId,
  because: 'stopped' | 'removed',
): Promise<void> {
  const errors: unknown[] = [];
  const attempt = async (work: Promise<void> | undefined): Promise<void> => {
    await work?.catch((error: unknown) => errors.push(error));
  };
  // A plugin that is asked about an interface must still find the namespace.
  if (networks.length > 1) await Promise.all(networks.map((network) => attempt(network.disconnect(id))));
  await Promise.all(networks.map((network) => attempt(network.detach(id))));
  if (because === 'removed') await Promise.all(networks.map((network) => attempt(network.forget?.(id))));
  if (errors.length === 0) return;
  throw new ContainerError('NETWORK_FAILED', errors.map(errorMessage).join('; '), {
    cause: errors[0],
    retryable: true,
  });
}
