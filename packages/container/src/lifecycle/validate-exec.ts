// Refuses an exec that can never work.

import type { ExecOptions, TerminalSize } from '@heptad/core';
import { ContainerError } from '../errors.ts';

// What conmon and the kernel take without complaint; no screen is larger.
const MAX_CELLS = 1000;

/** Throws `INVALID_ARGUMENT` for an exec that contradicts itself. */
export function validateExec(options: ExecOptions, doing: string): void {
  const refuse = (what: string): never => {
    throw new ContainerError('INVALID_ARGUMENT', `cannot ${doing}: ${what}`);
  };
  if (options.command.length === 0 || options.command[0] === '') refuse('the command is empty');
  if (options.detach === true && options.stdin !== undefined) refuse('one that is detached has no stdin');
  if (options.detach === true && options.tty !== undefined && options.tty !== false)
    refuse('one that is detached has no terminal');
  if (typeof options.tty === 'object') validateSize(options.tty, doing);
  if (options.workingDirectory !== undefined && !options.workingDirectory.startsWith('/'))
    refuse(`workingDirectory "${options.workingDirectory}" is not an absolute path`);
}

/** Throws `INVALID_ARGUMENT` for a terminal nobody has. */
export function validateSize(size: TerminalSize, doing: string): void {
  for (const [name, value] of Object.entries({ columns: size.columns, rows: size.rows })) {
    if (Number.isInteger(value) && value >= 1 && value <= MAX_CELLS) continue;
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot ${doing}: ${name} = ${value} is not between 1 and ${MAX_CELLS}`,
    );
  }
}
