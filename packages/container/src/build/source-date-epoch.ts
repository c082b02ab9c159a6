// SOURCE_DATE_EPOCH: the time that a reproducible build says it was made at.

import { ContainerError } from '../errors.ts';

/** The last second of the year 9999, after which ISO 8601 needs more digits. */
const MAX_SECONDS = 253_402_300_799;

/**
 * The given time, else that of the environment, in seconds since 1970; undefined when neither says one. Anything but a
 * whole number is refused, as the specification demands (https://reproducible-builds.org/specs/source-date-epoch).
 */
export function sourceDateEpoch(image: string, given: number | undefined): number | undefined {
  const text = given ?? process.env.SOURCE_DATE_EPOCH;
  if (text === undefined || text === '') return undefined;
  const seconds = Number(text);
  if (Number.isSafeInteger(seconds) && seconds >= 0 && seconds <= MAX_SECONDS) return seconds;
  throw new ContainerError(
    'INVALID_ARGUMENT',
    `cannot build ${image}: SOURCE_DATE_EPOCH "${text}" is no time`,
    {
      hint: 'give whole seconds since 1970, for example from "git log -1 --format=%ct"',
    },
  );
}
