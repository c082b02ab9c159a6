// Records: what the replicated state says of each object. They are the change feed of the objects, and the judge of every copy.

import type { ObjectInfo } from '@heptad/core';
import { z } from 'zod';

/** Prefix of the records: `/dr/objects/<bucket>/<key>`. */
export const OBJECTS_PREFIX = '/dr/objects/';

/** Names an object. */
export interface ObjectName {
  readonly bucket: string;
  readonly key: string;
}

/** What the state knows of an object. */
export interface ObjectRecord {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly metadata: Readonly<Record<string, string>>;
}

const recordSchema: z.ZodType<ObjectRecord> = z.object({
  sha256: z.string(),
  sizeBytes: z.number(),
  metadata: z.record(z.string(), z.string()),
});

/** Key of an object's record. */
export function recordKey({ bucket, key }: ObjectName): string {
  return `${OBJECTS_PREFIX}${bucket}/${key}`;
}

/** The object whose record has this key; undefined for other keys. */
export function parseRecordKey(key: string): ObjectName | undefined {
  if (!key.startsWith(OBJECTS_PREFIX)) return undefined;
  const rest = key.slice(OBJECTS_PREFIX.length);
  const slash = rest.indexOf('/');
  return slash < 0 ? undefined : { bucket: rest.slice(0, slash), key: rest.slice(slash + 1) };
}

/** Value of an object's record. */
export function formatRecord({ sha256, sizeBytes, metadata }: ObjectRecord): string {
  return JSON.stringify({ sha256, sizeBytes, metadata });
}

/** Parses the value of a record. */
export function parseRecord(value: string): ObjectRecord {
  return recordSchema.parse(JSON.parse(value));
}

/** Whether an object is what its record says: content and metadata. */
export function fits(info: Pick<ObjectInfo, 'sha256' | 'metadata'>, record: ObjectRecord): boolean {
  const names = Object.keys(info.metadata);
  return (
    info.sha256 === record.sha256 &&
    names.length === Object.keys(record.metadata).length &&
    names.every((name) => info.metadata[name] === record.metadata[name])
  );
}
