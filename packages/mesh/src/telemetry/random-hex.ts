// randomHex: random ids without a system call for each.

import { randomFillSync } from 'node:crypto';

/** One call to the operating system serves some hundred ids; asking each time was 8 % of the proxy's work. */
const POOL_BYTES = 4_096;

const pool = Buffer.alloc(POOL_BYTES);
let used = POOL_BYTES;

/** `bytes` random bytes as lower-case hexadecimal, each used once. */
export function randomHex(bytes: number): string {
  if (used + bytes > POOL_BYTES) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString('hex', used - bytes, used);
}
