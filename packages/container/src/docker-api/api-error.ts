// How the engine's coded errors are told over the Docker Engine API: a status and one sentence.

import { errorMessage, isHeptadError } from '@heptad/core';

const STATUS: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  INVALID_REFERENCE: 400,
  INVALID_STREAM: 400,
  ARCHIVE_INVALID: 400,
  ARCHIVE_TOO_LARGE: 400,
  IMAGE_INVALID: 400,
  LIMIT_EXCEEDED: 400,
  UNSAFE_ARCHIVE: 400,
  DIGEST_MISMATCH: 500,
  UNAUTHENTICATED: 401,
  CREDENTIALS_INVALID: 401,
  ACCESS_DENIED: 403,
  PLAIN_HTTP_REFUSED: 403,
  READ_ONLY: 403,
  CONTAINER_NOT_FOUND: 404,
  CONTENT_NOT_FOUND: 404,
  EXEC_NOT_FOUND: 404,
  IMAGE_NOT_FOUND: 404,
  NETWORK_NOT_FOUND: 404,
  PATH_NOT_FOUND: 404,
  ROUTE_NOT_FOUND: 404,
  VOLUME_NOT_FOUND: 404,
  WRONG_PLATFORM: 404,
  ALREADY_EXISTS: 409,
  ILLEGAL_TRANSITION: 409,
  IMAGE_IN_USE: 409,
  NAME_IN_USE: 409,
  NETWORK_IN_USE: 409,
  VOLUME_IN_USE: 409,
  RATE_LIMITED: 429,
  NOT_SUPPORTED: 501,
  RUNTIME_UNAVAILABLE: 503,
};

/** The HTTP status of an error; 500 for what is nobody's fault but ours. */
export function statusOf(error: unknown): number {
  return (isHeptadError(error) ? STATUS[error.code] : undefined) ?? 500;
}

/** What clients show: the message, and what to do. */
export function sentenceOf(error: unknown): string {
  const hint = isHeptadError(error) ? error.hint : undefined;
  return hint === undefined ? errorMessage(error) : `${errorMessage(error)} (${hint})`;
}
