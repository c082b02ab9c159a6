// The cgroup above all containers: together they leave the machine enough memory and process numbers to go on.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { errnoOf } from '../errors.ts';
import type { CgroupLayout } from './cgroup.ts';

// A container without a limit of its own may take what is there, but the machine must stay able to stop it: a tenth is
// left to everything that is not a container.
const CONTAINERS_SHARE = 0.9;

/** Bounds all containers of the machine together. Idempotent, and the same value whoever sets it. */
export async function boundAllContainers(layout: CgroupLayout, parent: string): Promise<void> {
  const pidMax = Number(await readFile('/proc/sys/kernel/pid_max', 'utf8'));
  const memory = String(Math.floor((totalmem() * CONTAINERS_SHARE) / 4096) * 4096);
  const pids = String(Math.floor(pidMax * CONTAINERS_SHARE));
  if (layout.version === 2) {
    const directory = join(layout.root, parent);
    await mkdir(directory, { recursive: true });
    // Without it the parent has no controllers to limit with; the runtime does the same for each container.
    await writeFile(join(layout.root, 'cgroup.subtree_control'), '+memory +pids');
    await writeFile(join(directory, 'memory.max'), memory);
    await writeFile(join(directory, 'pids.max'), pids);
    return;
  }
  await boundLegacy(join(layout.root, 'memory'), parent, 'memory.limit_in_bytes', memory);
  await boundLegacy(join(layout.root, 'pids'), parent, 'pids.max', pids);
}

async function boundLegacy(controller: string, parent: string, file: string, value: string): Promise<void> {
  const directory = join(controller, parent);
  try {
    await mkdir(directory).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
    await writeFile(join(directory, file), value);
  } catch (error) {
    // A controller that this kernel has not (or has on the other hierarchy) limits nothing; one whose directory another
    // engine removes at this moment is made by the runtime, and bounded with the next container.
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
