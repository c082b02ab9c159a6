// Signal names and numbers, as a user may write them.

import { constants } from 'node:os';
import { ContainerError } from '../errors.ts';

const NUMBERS: ReadonlyMap<string, number> = new Map(Object.entries(constants.signals));
// Real-time signals end at 64 on Linux.
const MAX_SIGNAL = 64;

/** The number of `SIGTERM`, `TERM`, `15` or 15. Throws `INVALID_ARGUMENT`. */
export function signalNumber(signal: string | number): number {
  const number =
    typeof signal === 'number'
      ? signal
      : /^\d+$/.test(signal)
        ? Number(signal)
        : NUMBERS.get(
            signal.toUpperCase().startsWith('SIG') ? signal.toUpperCase() : `SIG${signal.toUpperCase()}`,
          );
  if (number !== undefined && Number.isInteger(number) && number >= 1 && number <= MAX_SIGNAL) return number;
  throw new ContainerError('INVALID_ARGUMENT', `"${signal}" is not a signal`, {
    hint: 'give a name such as SIGTERM or a number from 1 to 64',
  });
}
