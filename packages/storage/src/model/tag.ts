// Tags: the total order of an object's versions, (hybrid logical clock, writer), as text that sorts.
//
// Source: Kulkarni et al. 2014 (hybrid logical clocks); Lynch and Shvartsman 1997 (multi-writer ABD tags).

import type { Clock, Random } from '@heptad/core';
import { StorageError } from '../errors.ts';

/** 16 hexadecimal digits of time (48 bits of milliseconds, 16 of counter), a dot, 16 of writer. Sorts as text. */
export type Tag = string;

/** Older than every version: the tag of an object that never was. */
export const ZERO_TAG: Tag = '0000000000000000.0000000000000000';

/**
 * The writer of conditional writes. Its first digit is below 8, that of ordinary writers never is, so an ordinary
 * write that did not see a conditional one always sorts after it (see conditional.ts for why this matters).
 */
export const GUARD_WRITER = '0000000000000001';

const TAG_PATTERN = /^[0-9a-f]{16}\.[0-9a-f]{16}$/;
const COUNTER_BITS = 16n;

/** Whether `text` has the form of a tag. */
export function isTag(text: string): boolean {
  return TAG_PATTERN.test(text);
}

/** The later of two tags. */
export function laterTag(a: Tag, b: Tag): Tag {
  return a > b ? a : b;
}

/** The wall time in a tag, in milliseconds. */
export function tagTimeMs(tag: Tag): number {
  return Number(BigInt(`0x${tag.slice(0, 16)}`) >> COUNTER_BITS);
}

function logicalTime(tag: Tag): bigint {
  return BigInt(`0x${tag.slice(0, 16)}`);
}

function makeTag(time: bigint, writer: string): Tag {
  return `${time.toString(16).padStart(16, '0')}.${writer}`;
}

/** The one version that a conditional write may put directly after `tag`. */
export function guardedSuccessor(tag: Tag): Tag {
  return makeTag(logicalTime(tag) + 1n, GUARD_WRITER);
}

/** A writer's source of tags: each is later than all it gave before and all it has seen. */
export class TagSource {
  readonly writer: string;
  readonly #clock: Clock;
  #last = 0n;

  /** @param writer - 16 hexadecimal digits, the first 8 to f; drawn from `random` when left out. */
  constructor(clock: Clock, random: Random, writer?: string) {
    this.#clock = clock;
    if (writer !== undefined && !/^[89a-f][0-9a-f]{15}$/.test(writer)) {
      throw new StorageError('INVALID_ARGUMENT', `cannot use writer "${writer}": want 16 hexadecimal digits`);
    }
    this.writer = writer ?? drawWriter(random);
  }

  /** A tag later than `seen`, than every earlier one of this source, and not before the wall clock. */
  next(seen: Tag = ZERO_TAG): Tag {
    const wall = BigInt(this.#clock.now()) << COUNTER_BITS;
    const after = [wall, logicalTime(seen) + 1n, this.#last + 1n];
    this.#last = after.reduce((a, b) => (a > b ? a : b));
    return makeTag(this.#last, this.writer);
  }
}

function drawWriter(random: Random): string {
  const bytes = random.bytes(8);
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  return Buffer.from(bytes).toString('hex');
}
