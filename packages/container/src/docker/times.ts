// Docker's times and ours.

import type { Instant } from '@heptad/core';

const NANOS_PER_MILLI = 1_000_000;

/** A time of Docker's; its year 1 stands for never. */
export function instantOf(text: string | null | undefined): Instant | undefined {
  if (text === null || text === undefined || text === '' || text.startsWith('0001-')) return undefined;
  const instant = Date.parse(text);
  return Number.isNaN(instant) ? undefined : instant;
}

/** An instant as Docker's `since` and `until` take it; `nanos` is the part below the millisecond. */
export function dockerTime(instant: Instant, nanos = 0): string {
  const seconds = Math.floor(instant / 1000);
  const fraction = (instant - seconds * 1000) * NANOS_PER_MILLI + nanos;
  return `${seconds}.${String(fraction).padStart(9, '0')}`;
}
