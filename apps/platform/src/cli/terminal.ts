// Our own terminal, lent to a program elsewhere: raw while it runs, and as it was before whatever happens.

import { spawnSync } from 'node:child_process';
import type { TerminalSize } from '@heptad/core';

const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };

/** The terminal as the program elsewhere needs to know it. */
export interface OwnTerminal {
  readonly size: TerminalSize;
  /** Calls the listener with each new size of the window. */
  onResize(listener: (size: TerminalSize) => void): void;
}

function sizeNow(): TerminalSize {
  const { columns, rows } = process.stdout;
  // Without a terminal, or with one that does not know its size, as on a serial line.
  return columns > 0 && rows > 0 ? { columns, rows } : DEFAULT_SIZE;
}

/** Makes our terminal raw (when there is one, and `typing` is wanted) while `run` runs. */
export async function withTerminal<T>(
  typing: boolean,
  run: (terminal: OwnTerminal) => Promise<T>,
): Promise<T> {
  const listeners: ((size: TerminalSize) => void)[] = [];
  const changed = (): void => {
    for (const listener of listeners) listener(sizeNow());
  };
  const { stdin, stdout } = process;
  const raw = typing && stdin.isTTY;
  if (raw) {
    stdin.setRawMode(true);
    // Node leaves the translation of line ends on, which would break programs that draw: the far terminal did it already.
    spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
  }
  stdout.on('resize', changed);
  try {
    return await run({ size: sizeNow(), onResize: (listener) => listeners.push(listener) });
  } finally {
    stdout.off('resize', changed);
    if (raw) stdin.setRawMode(false);
  }
}
