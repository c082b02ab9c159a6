// Commands of the surface whose area is still to come: they say so and fail.

import { HeptadError } from '@heptad/core';

/** Always throws `NOT_SUPPORTED`. */
export function notYet(command: string): never {
  throw new HeptadError('NOT_SUPPORTED', `"heptad ${command}" is not there yet in this version`, {
    hint: 'heptad --help lists the commands; the ones that work do not say "(not there yet)"',
  });
}
