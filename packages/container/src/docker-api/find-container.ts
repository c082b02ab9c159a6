// The container that a client means: id, name, or any unique beginning of an id, as Docker takes it.

import type { ContainerInfo } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ApiCall } from './call.ts';
import type { ApiContext } from './context.ts';

/** Finds it. Throws `CONTAINER_NOT_FOUND` in Docker's words. */
export async function findContainer(context: ApiContext, reference: string): Promise<ContainerInfo> {
  const name = reference.replace(/^\//, '');
  try {
    return await context.runtime.inspect(name);
  } catch (error) {
    if (!isHeptadError(error, 'CONTAINER_NOT_FOUND')) throw error;
  }
  if (/^[0-9a-f]{1,11}$/.test(name)) {
    const matches = (await context.runtime.list()).filter(({ id }) => id.startsWith(name));
    if (matches.length === 1 && matches[0] !== undefined) return matches[0];
    if (matches.length > 1) {
      throw new ContainerError('INVALID_ARGUMENT', `multiple containers begin with "${name}"`);
    }
  }
  throw new ContainerError('CONTAINER_NOT_FOUND', `No such container: ${reference}`);
}

/** The container in the path of a request. */
export async function containerOf(context: ApiContext, call: ApiCall): Promise<ContainerInfo> {
  return await findContainer(context, call.parameter('id'));
}
