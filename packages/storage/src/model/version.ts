// A version of an object: what is written in its file's header and sent with its bytes.

import { createHash } from 'node:crypto';
import type { ObjectInfo } from '@heptad/core';
import { z } from 'zod';
import { StorageError } from '../errors.ts';
import { MAX_KEY_BYTES, MAX_METADATA_BYTES, MAX_OBJECT_BYTES } from '../limits.ts';
import { isTag, type Tag } from './tag.ts';

/** 64 hexadecimal digits: SHA-256 of bucket, a zero byte and key. Its first byte is the object's partition. */
export type ObjectId = string;

/** Everything about a version but its bytes. */
export interface VersionHeader {
  readonly bucket: string;
  readonly key: string;
  readonly tag: Tag;
  /** SHA-256 of the bytes, hexadecimal. */
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly lastModified: number;
  readonly metadata: Readonly<Record<string, string>>;
  /** A tombstone: the object was deleted by this version. */
  readonly deleted: boolean;
}

const headerSchema = z.strictObject({
  bucket: z.string().min(1).max(64),
  key: z.string().min(1).max(MAX_KEY_BYTES),
  tag: z.string().refine(isTag, 'not a tag'),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sizeBytes: z.number().int().min(0).max(MAX_OBJECT_BYTES),
  lastModified: z.number().int(),
  metadata: z.record(z.string(), z.string()),
  deleted: z.boolean(),
});

/** Parses a header from JSON text. Throws a plain `Error` that says what is wrong; callers know what it means. */
export function parseVersionHeader(text: string): VersionHeader {
  return parseVersionHeaderValue(JSON.parse(text));
}

/** The same from a value already parsed as JSON. */
export function parseVersionHeaderValue(value: unknown): VersionHeader {
  return headerSchema.parse(value);
}

/** SHA-256 as hexadecimal digits. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The identity under which nodes keep an object. */
export function objectId(bucket: string, key: string): ObjectId {
  return sha256Hex(`${bucket}\0${key}`);
}

/** Refuses names that the contract does not allow, with `INVALID_ARGUMENT`. */
export function checkBucketName(bucket: string): void {
  if (!/^[a-z0-9.-]{3,63}$/.test(bucket)) {
    throw new StorageError('INVALID_ARGUMENT', `cannot use bucket name "${bucket}"`, {
      hint: 'use 3 to 63 lower-case letters, digits, dots and hyphens, such as "orders"',
    });
  }
}

/** Refuses keys that the contract does not allow, with `INVALID_ARGUMENT`. */
export function checkKey(key: string): void {
  const bytes = Buffer.byteLength(key);
  // Lone surrogates have no UTF-8 form: two such keys would become one.
  if (bytes < 1 || bytes > MAX_KEY_BYTES || !key.isWellFormed()) {
    throw new StorageError('INVALID_ARGUMENT', `cannot use a key of ${bytes} bytes as an object key`, {
      hint: `keys are 1 to ${MAX_KEY_BYTES} bytes of UTF-8`,
    });
  }
}

/** Refuses metadata that is too large, with `INVALID_ARGUMENT`. */
export function checkMetadata(metadata: Readonly<Record<string, string>>): void {
  const bytes = Buffer.byteLength(JSON.stringify(metadata));
  if (bytes > MAX_METADATA_BYTES) {
    throw new StorageError('INVALID_ARGUMENT', `cannot store ${bytes} bytes of metadata with an object`, {
      hint: `at most ${MAX_METADATA_BYTES} bytes of JSON text; put larger data into the object itself`,
    });
  }
}

/** What callers see of a version. */
export function objectInfo(header: VersionHeader): ObjectInfo {
  return {
    bucket: header.bucket,
    key: header.key,
    sizeBytes: header.sizeBytes,
    sha256: header.sha256,
    etag: header.tag,
    lastModified: header.lastModified,
    metadata: header.metadata,
  };
}

/** Keys in the order of their UTF-8 bytes, which JavaScript's own comparison of strings is not. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left === right) continue;
    // Surrogates stand for code points above U+FFFF, so they sort after every other unit.
    const leftHigh = left >= 0xd800 && left <= 0xdfff;
    const rightHigh = right >= 0xd800 && right <= 0xdfff;
    if (leftHigh !== rightHigh) return leftHigh ? 1 : -1;
    return left - right;
  }
  return a.length - b.length;
}
