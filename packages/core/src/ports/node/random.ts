// Real chance: the operating system's generator behind the Random port.

import { randomBytes, randomInt } from 'node:crypto';
import { v7 } from 'uuid';
import { invalidArgument } from '../../errors.ts';
import type { Random } from '../random.ts';

/** node:crypto's randomInt takes bounds up to here. */
const LARGEST_BOUND = 2 ** 48 - 1;
/** A UUID has 16 bytes. */
const UUID_BYTES = 16;

class SystemRandom implements Random {
  next(): number {
    return Math.random();
  }

  integer(bound: number): number {
    if (!Number.isSafeInteger(bound) || bound < 1 || bound > LARGEST_BOUND) {
      throw invalidArgument(
        `cannot draw a whole number below ${bound}: the bound must be a whole number from 1 to 2^48 - 1`,
      );
    }
    return bound === 1 ? 0 : randomInt(bound);
  }

  bytes(length: number): Uint8Array {
    return new Uint8Array(randomBytes(length));
  }

  uuid(nowMs: number): string {
    return v7({ msecs: nowMs, random: this.bytes(UUID_BYTES) });
  }
}

/** The system's randomness: `bytes`, `integer` and `uuid` from its cryptographic generator, `next` a fast one. */
export const systemRandom: Random = new SystemRandom();
