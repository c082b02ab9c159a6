// Content addresses: `sha256:<64 hexadecimal digits>`, and the ChainID that names a stack of layers.

import { createHash } from 'node:crypto';
import { ContainerError } from '../errors.ts';

/** `sha256:` and 64 lower-case hexadecimal digits. */
export type Digest = string;

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** Whether `text` is a digest. Only such text ever becomes part of a path. */
export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

/** The hexadecimal part. Throws `INVALID_REFERENCE` for anything but a digest, so that no path escapes the store. */
export function digestHex(digest: Digest): string {
  if (!isDigest(digest)) {
    throw new ContainerError('INVALID_REFERENCE', `"${digest.slice(0, 100)}" is not a digest`, {
      hint: 'a digest is "sha256:" and 64 lower-case hexadecimal digits',
    });
  }
  return digest.slice('sha256:'.length);
}

/** The digest of bytes in memory. */
export function digestOf(data: string | Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

/**
 * Names of the stacks that `diffIds` build up, bottom first: ChainID(n) = SHA256(ChainID(n-1) + " " + DiffID(n)).
 * Source: OCI image specification, "Layer ChainID".
 */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) {
    const parent = chain.at(-1);
    chain.push(parent === undefined ? diffId : digestOf(`${parent} ${diffId}`));
  }
  return chain;
}
