// The errors of the object store and how quorum failures are told.

import { errorMessage, HeptadError, type HeptadErrorOptions, isHeptadError } from '@heptad/core';

/** Codes of {@link StorageError}. */
export type StorageErrorCode =
  | 'OBJECT_NOT_FOUND'
  | 'OBJECT_TOO_LARGE'
  | 'INVALID_RANGE'
  | 'PRECONDITION_FAILED'
  | 'CONFLICT'
  | 'WRITE_FAILED'
  | 'READ_FAILED'
  | 'INSUFFICIENT_SPACE'
  | 'DATA_CORRUPT'
  | 'STORE_CORRUPT'
  | 'STORE_CLOSED'
  | 'NOT_SUPPORTED'
  | 'UNAUTHENTICATED'
  | 'BUSY'
  | 'CHECKSUM_MISMATCH'
  | 'CLOCK_SKEW'
  | 'STALE_LAYOUT'
  | 'NODE_BEHIND'
  | 'LAYOUT_CONFLICT'
  | 'LAYOUT_UNAVAILABLE'
  | 'NODE_UNREACHABLE'
  | 'NODE_EXISTS'
  | 'NODE_NOT_FOUND'
  | 'DIRECTORY_IN_USE'
  | 'PORT_IN_USE'
  | 'INVALID_ARGUMENT';

/** What the object store and its nodes throw. */
export class StorageError extends HeptadError<StorageErrorCode> {}

/** What one replica said when it could not do what was asked. */
export interface ReplicaAnswer {
  readonly node: string;
  readonly address: string;
  readonly code: string;
  readonly message: string;
}

/** Builds the answer of a replica from whatever its request threw. */
export function replicaAnswer(node: string, address: string, error: unknown): ReplicaAnswer {
  const code = isHeptadError(error) ? error.code : 'NODE_UNREACHABLE';
  return { node, address, code, message: errorMessage(error) };
}

/** Input for {@link quorumError}. */
export interface QuorumFailure {
  readonly code: 'WRITE_FAILED' | 'READ_FAILED';
  readonly doing: string;
  readonly needed: number;
  readonly asked: number;
  readonly succeeded: readonly string[];
  readonly failed: readonly ReplicaAnswer[];
  /** Whether some replica may have carried the operation out. */
  readonly outcome: 'failed' | 'unknown';
}

/** The error of a quorum that could not be had: it lists every replica and what it said. */
export function quorumError(failure: QuorumFailure): StorageError {
  const { doing, needed, asked, succeeded, failed } = failure;
  const full = failed.length > 0 && failed.every((answer) => answer.code === 'INSUFFICIENT_SPACE');
  const answers = [
    ...succeeded.map((node) => `${node}: done`),
    ...failed.map((answer) => `${answer.node} (${answer.address}): ${answer.code}: ${answer.message}`),
  ];
  const options: HeptadErrorOptions = {
    hint: full
      ? 'delete objects, raise capacityBytes, or add a storage node'
      : 'see "heptad storage status"; start the nodes that are down, or remove them for good with removeNode',
    retryable: failure.outcome === 'failed' && !full,
    details: { replicas: failed, succeeded, needed, asked, outcome: failure.outcome },
  };
  const message =
    `cannot ${doing}: ${succeeded.length} of ${asked} replicas answered well and ${needed} are needed; ` +
    answers.join('; ');
  return new StorageError(full ? 'INSUFFICIENT_SPACE' : failure.code, message, options);
}
