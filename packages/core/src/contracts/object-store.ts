// ObjectStore: named byte objects in buckets, replicated and verified.

import type { Instant } from '../ports/clock.ts';

/**
 * - `strong`: linearizable single-object reads and writes.
 * - `eventual`: any one replica; may be stale.
 * - `read-your-writes`: never older than what this session has read or written.
 */
export const CONSISTENCY_LEVELS = ['strong', 'eventual', 'read-your-writes'] as const;
/** See {@link CONSISTENCY_LEVELS}. */
export type ConsistencyLevel = (typeof CONSISTENCY_LEVELS)[number];

/** Bytes to store. */
export type ObjectBody = Uint8Array | string | AsyncIterable<Uint8Array>;

/** A session's memory of the highest tags it has seen: object -> tag. Opaque to callers, JSON-safe. */
export interface ConsistencySession {
  readonly tags: Map<string, string>;
}

/** What is known of an object without its bytes. */
export interface ObjectInfo {
  readonly bucket: string;
  readonly key: string;
  readonly sizeBytes: number;
  /** SHA-256 of the content, hexadecimal. */
  readonly sha256: string;
  /** Changes with every write; compare with `ifMatch`. */
  readonly etag: string;
  readonly lastModified: Instant;
  readonly metadata: Readonly<Record<string, string>>;
}

/** How to write. */
export interface PutOptions {
  /** Default `strong`. */
  readonly consistency?: ConsistencyLevel;
  readonly session?: ConsistencySession;
  /** Write only if the object's etag is this; else `PRECONDITION_FAILED`. */
  readonly ifMatch?: string;
  /** `*`: write only if there is no object; else `PRECONDITION_FAILED`. */
  readonly ifNoneMatch?: '*';
  readonly metadata?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** How to read. */
export interface GetOptions {
  /** Default `strong`. */
  readonly consistency?: ConsistencyLevel;
  readonly session?: ConsistencySession;
  /** Bytes `start` to `end`, both inclusive. */
  readonly range?: { readonly start: number; readonly end?: number };
  readonly signal?: AbortSignal;
}

/** An object with its bytes, verified against its SHA-256. */
export interface ObjectRead {
  readonly info: ObjectInfo;
  readonly body: Uint8Array;
}

/**
 * Bucket names: 3 to 63 of `[a-z0-9.-]`. Keys: 1 to 1024 bytes of UTF-8. Buckets come into being with their first object.
 *
 * A put that resolves is durable on a quorum (for `eventual`: on one replica). Missing objects are `OBJECT_NOT_FOUND`.
 * A quorum that cannot be had is `WRITE_FAILED` / `READ_FAILED` with `details.replicas`: each replica and what it said.
 * Too little room is `INSUFFICIENT_SPACE`. Content that verifies on no replica is `DATA_CORRUPT`.
 */
export interface ObjectStore extends AsyncDisposable {
  put(bucket: string, key: string, body: ObjectBody, options?: PutOptions): Promise<ObjectInfo>;
  get(bucket: string, key: string, options?: GetOptions): Promise<ObjectRead>;
  head(bucket: string, key: string, options?: GetOptions): Promise<ObjectInfo>;
  /** Deleting a missing object is no error. */
  delete(
    bucket: string,
    key: string,
    options?: Pick<PutOptions, 'consistency' | 'session' | 'ifMatch' | 'signal'>,
  ): Promise<void>;
  /** In key order. */
  list(
    bucket: string,
    options?: { prefix?: string; after?: string; limit?: number; signal?: AbortSignal },
  ): AsyncIterable<ObjectInfo>;
}
