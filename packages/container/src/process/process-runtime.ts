// ProcessRuntime: the same lifecycle with plain processes, where containers are not allowed.

import { join } from 'node:path';
import type { Clock, Random } from '@heptad/core';
import { systemClock, systemRandom } from '@heptad/core';
import type { ImageStore } from '../image/image-store.ts';
import { openHome } from '../lifecycle/home.ts';
import { ManagedRuntime } from '../lifecycle/managed-runtime.ts';
import { ProcessDriver } from './process-driver.ts';

/** Options of {@link ProcessRuntime.open}. */
export interface ProcessRuntimeOptions {
  /** The directory of this runtime's containers. One process at a time. */
  readonly home: string;
  readonly images: ImageStore;
  /** Where named volumes live. Default `<home>/volumes`. */
  readonly volumes?: string;
  /** The Node.js that runs images. Default the one that runs this. */
  readonly nodeBinary?: string;
  readonly clock?: Clock;
  readonly random?: Random;
}

/**
 * Runs the application of an image (or an absolute directory given as `image`) as a plain process of this user: a
 * loopback address of its own in `HOST`, logs, exit codes and recovery as with containers, but no isolation at all.
 * Paths of the image, of mounts and of secrets that appear as a whole value in the environment or the command are
 * translated to where the files really are.
 */
export class ProcessRuntime extends ManagedRuntime {
  /** Opens `home`. Throws `HOME_IN_USE`. */
  static async open(options: ProcessRuntimeOptions): Promise<ProcessRuntime> {
    const ports = {
      home: options.home,
      clock: options.clock ?? systemClock,
      random: options.random ?? systemRandom,
    };
    const opened = await openHome(ports.home);
    const driver = await ProcessDriver.open({
      home: options.home,
      images: options.images,
      volumes: options.volumes ?? join(options.home, 'volumes'),
      nodeBinary: options.nodeBinary ?? process.execPath,
      clock: ports.clock,
    });
    return new ProcessRuntime(driver, ports, opened);
  }
}
