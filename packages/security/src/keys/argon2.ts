// Argon2id as promise: the one place that names the parameters' meaning.

import { argon2 } from 'node:crypto';

/** Cost of one argon2id computation. */
export interface Argon2Cost {
  /** Memory in KiB. */
  readonly memoryKib: number;
  readonly passes: number;
  readonly parallelism: number;
}

/** `length` bytes of argon2id (RFC 9106, version 1.3) over `message`. Runs in the thread pool. */
export function argon2id(
  message: Uint8Array,
  salt: Uint8Array,
  cost: Argon2Cost,
  length: number,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    argon2(
      'argon2id',
      {
        message,
        nonce: salt,
        memory: cost.memoryKib,
        passes: cost.passes,
        parallelism: cost.parallelism,
        tagLength: length,
      },
      (error, tag) => (error === null ? resolve(tag) : reject(error)),
    );
  });
}
