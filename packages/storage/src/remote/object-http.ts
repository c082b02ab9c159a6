// An object's facts in HTTP headers: what a server of objects writes and RemoteObjectStore reads.

import type { ObjectInfo } from '@heptad/core';
import { z } from 'zod';

/** Holds the object's facts as percent-encoded JSON: exact where `etag` and `last-modified` are for people. */
export const OBJECT_INFO_HEADER = 'x-heptad-object';
/** Holds the metadata of a put as percent-encoded JSON; single entries may come as `x-heptad-meta-<name>`. */
export const OBJECT_METADATA_HEADER = 'x-heptad-metadata';
/** How strongly is read or written. */
export const CONSISTENCY_HEADER = 'x-heptad-consistency';

/** Code of the error of a refused request: all that an answer to HEAD can say. */
export const ERROR_CODE_HEADER = 'x-heptad-error';

const infoSchema: z.ZodType<ObjectInfo> = z.object({
  bucket: z.string(),
  key: z.string(),
  sizeBytes: z.number(),
  sha256: z.string(),
  etag: z.string(),
  lastModified: z.number(),
  metadata: z.record(z.string(), z.string()),
});
const metadataSchema = z.record(z.string(), z.string());
const pageSchema = z.object({ items: z.array(infoSchema), nextCursor: z.string().optional() });

/** A value for {@link OBJECT_INFO_HEADER}. */
export function formatInfoHeader(info: ObjectInfo): string {
  return encodeURIComponent(JSON.stringify(info));
}

/** Reads {@link OBJECT_INFO_HEADER}; throws when it is not what {@link formatInfoHeader} wrote. */
export function parseInfoHeader(text: string): ObjectInfo {
  return infoSchema.parse(JSON.parse(decodeURIComponent(text)));
}

/** A value for {@link OBJECT_METADATA_HEADER}. */
export function formatMetadataHeader(metadata: Readonly<Record<string, string>>): string {
  return encodeURIComponent(JSON.stringify(metadata));
}

/** Reads {@link OBJECT_METADATA_HEADER}; throws when it is not JSON of names and texts. */
export function parseMetadataHeader(text: string): Record<string, string> {
  return metadataSchema.parse(JSON.parse(decodeURIComponent(text)));
}

/** Reads the facts in a JSON body. */
export function parseInfo(value: unknown): ObjectInfo {
  return infoSchema.parse(value);
}

/** Reads one page of a list. */
export function parsePage(value: unknown): { items: readonly ObjectInfo[]; nextCursor?: string | undefined } {
  return pageSchema.parse(value);
}
