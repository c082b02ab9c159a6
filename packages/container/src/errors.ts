// The errors of @heptad/container: one class, a closed list of codes.

import { HeptadError, type HeptadErrorOptions } from '@heptad/core';

/** Every code that this package throws on purpose. */
export type ContainerErrorCode =
  | 'ACCESS_DENIED'
  | 'ALREADY_EXISTS'
  | 'ARCHIVE_INVALID'
  | 'ARCHIVE_TOO_LARGE'
  | 'BUILD_FAILED'
  | 'COMMAND_FAILED'
  | 'CONTAINER_NOT_FOUND'
  | 'CONTAINER_STUCK'
  | 'CONTENT_NOT_FOUND'
  | 'CREDENTIALS_INVALID'
  | 'DIGEST_MISMATCH'
  | 'EXEC_FAILED'
  | 'EXEC_NOT_FOUND'
  | 'HOME_IN_USE'
  | 'ILLEGAL_TRANSITION'
  | 'IMAGE_INVALID'
  | 'IMAGE_IN_USE'
  | 'IMAGE_NOT_FOUND'
  | 'IMAGE_NOT_TRUSTED'
  | 'INVALID_ARGUMENT'
  | 'INVALID_REFERENCE'
  | 'INVALID_STREAM'
  | 'KEY_INVALID'
  | 'LIMIT_EXCEEDED'
  | 'NAME_IN_USE'
  | 'NETWORK_FAILED'
  | 'NETWORK_IN_USE'
  | 'NETWORK_NOT_FOUND'
  | 'NOT_SUPPORTED'
  | 'NO_SPACE'
  | 'PATH_NOT_FOUND'
  | 'PLAIN_HTTP_REFUSED'
  | 'PORT_IN_USE'
  | 'RATE_LIMITED'
  | 'READ_ONLY'
  | 'REF_IN_USE'
  | 'REGISTRY_FAILED'
  | 'REGISTRY_UNREACHABLE'
  | 'REGISTRY_UNTRUSTED'
  | 'ROUTE_NOT_FOUND'
  | 'RUNTIME_FAILED'
  | 'RUNTIME_UNAVAILABLE'
  | 'SIGNATURE_INVALID'
  | 'SNAPSHOT_IN_USE'
  | 'SNAPSHOT_NOT_FOUND'
  | 'STORE_CORRUPT'
  | 'TIMEOUT'
  | 'TRUST_POLICY_INVALID'
  | 'UNAUTHENTICATED'
  | 'UNSAFE_ARCHIVE'
  | 'VOLUME_IN_USE'
  | 'VOLUME_NOT_FOUND'
  | 'WRONG_PLATFORM';

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

/** Turns a full and a read-only disk into codes of their own, so that callers can tell them from a bug; other errors pass through. */
export function diskError(error: unknown, doing: string): unknown {
  const errno = errnoOf(error);
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new ContainerError('NO_SPACE', `cannot ${doing}: the disk is full`, {
      cause: error,
      hint: 'free space (ImageStore.gc() removes unused image data) or choose another home directory',
      retryable: true,
    });
  }
  if (errno === 'EROFS') {
    return new ContainerError('READ_ONLY', `cannot ${doing}: the file system is read-only`, {
      cause: error,
      hint: 'mount it writable (a disk with errors becomes read-only: see dmesg) or choose another home directory',
    });
  }
  return error;
}
