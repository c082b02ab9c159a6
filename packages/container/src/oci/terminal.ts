// The terminal of a container's main process: its size, by way of conmon's control pipe.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { TerminalSize } from '@heptad/core';

/** Tells conmon, whose shim holds the terminal, the new size. Throws `ENXIO` when the shim is gone. */
export async function resizeTerminal(bundle: string, size: TerminalSize): Promise<void> {
  const control = await open(join(bundle, 'ctl'), constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    await control.write(`1 ${size.rows} ${size.columns}\n`);
  } finally {
    await control.close();
  }
}
