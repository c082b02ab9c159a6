// The errors of @heptad/container: one class, a closed list of codes.

import { HeptadError, type HeptadErrorOptions } from '@heptad/core';

/** Every code that this package throws on purpose. */
export type ContainerErrorCode =
  | 'ARCHIVE_INVALID'
  | 'BUILD_FAILED'
  | 'COMMAND_FAILED'
  | 'CONTAINER_NOT_FOUND'
  | 'CONTAINER_STUCK'
  | 'DIGEST_MISMATCH'
  | 'EXEC_FAILED'
  | 'HOME_IN_USE'
  | 'ILLEGAL_TRANSITION'
  | 'IMAGE_INVALID'
  | 'IMAGE_IN_USE'
  | 'IMAGE_NOT_FOUND'
  | 'INVALID_ARGUMENT'
  | 'INVALID_REFERENCE'
  | 'LIMIT_EXCEEDED'
  | 'NAME_IN_USE'
  | 'NETWORK_FAILED'
  | 'NETWORK_NOT_FOUND'
  | 'NOT_SUPPORTED'
  | 'NO_SPACE'
  | 'PATH_NOT_FOUND'
  | 'RUNTIME_FAILED'
  | 'RUNTIME_UNAVAILABLE'
  | 'STORE_CORRUPT'
  | 'TIMEOUT'
  | 'UNSAFE_ARCHIVE';

/** What `@heptad/container` throws. Recognise it with `isHeptadError(error, code)`. */
export class ContainerError extends HeptadError<ContainerErrorCode> {
  constructor(code: ContainerErrorCode, message: string, options: HeptadErrorOptions = {}) {
    super(code, message, options);
  }
}

/** The errno name of a system error (`ENOENT`), if it is one. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Turns a full disk into its own code, so that callers can tell it from a bug; other errors pass through. */
export function diskError(error: unknown, doing: string): unknown {
  const errno = errnoOf(error);
  if (errno !== 'ENOSPC' && errno !== 'EDQUOT' && errno !== 'EROFS') return error;
  const why = errno === 'EROFS' ? 'the file system is read-only' : 'the disk is full';
  return new ContainerError('NO_SPACE', `cannot ${doing}: ${why}`, {
    cause: error,
    hint: 'free space (ImageStore.gc() removes unused image data) or choose another home directory',
    retryable: true,
  });
}
