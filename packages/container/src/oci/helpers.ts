// The programs beside runtime and shim that single abilities need: what is there, and how to get what is not.

import { access, constants } from 'node:fs/promises';
import { findPerl, PERL_MISSING } from './relays.ts';

/** What was found. */
export interface Helpers {
  /** The relays of terminals and standard input can run. */
  readonly relays: boolean;
  /** A statically linked init that reaps orphans and passes signals on. */
  readonly init: string | undefined;
  /** A sentence for each that is missing. */
  readonly reasons: readonly string[];
}

/** Where the init is seen in a container: below /dev, which is memory even when the root is read-only. */
export const INIT_TARGET = '/dev/init';

// Static ones only: the container's file system has other libraries, or none. Both take `-- program arguments`.
const INITS: readonly string[] = [
  '/usr/bin/catatonit',
  '/usr/libexec/podman/catatonit',
  '/usr/bin/tini-static',
];
const INIT_MISSING = 'there is no init for containers that ask for one: apt-get install tini (or catatonit)';

/** Looks for the helpers. */
export async function findHelpers(inits: readonly string[] = INITS): Promise<Helpers> {
  const relays = await findPerl();
  let init: string | undefined;
  for (const path of inits) {
    const usable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) init ??= path;
  }
  const reasons = [...(relays ? [] : [PERL_MISSING]), ...(init === undefined ? [INIT_MISSING] : [])];
  return { relays, init, reasons };
}
