// What a storage node and its clients say to each other over HTTP. docs: packages/storage/FORMATS.md.

import { z } from 'zod';
import { isTag, type Tag } from '../model/tag.ts';
import { parseVersionHeaderValue, type VersionHeader } from '../model/version.ts';
import type { AcceptedLayout } from '../node/layout-keeper.ts';
import { type Layout, parseLayout } from '../placement/layout.ts';

/** Request header: the layout version the client goes by. */
export const LAYOUT_HEADER = 'x-heptad-layout';
/** Request and response header: the version header, base64url of its JSON text. */
export const VERSION_HEADER = 'x-heptad-version';

/** What a node says about one object. */
export interface ObjectEntry {
  readonly id: string;
  readonly tag: Tag;
  readonly corrupt: boolean;
  readonly header?: VersionHeader;
}

/** Counts of one partition on one node. */
export interface PartitionStatus {
  readonly objects: number;
  readonly tombstones: number;
  readonly bytes: number;
  readonly digest: string;
}

/** What a node says about itself. */
export interface NodeStatus {
  readonly id: string;
  readonly zone?: string;
  readonly capacityBytes: number;
  readonly usedBytes: number;
  readonly objects: number;
  readonly corruptObjects: number;
  readonly layoutVersion: number;
  readonly scrub: {
    readonly running: boolean;
    readonly checked: number;
    readonly total: number;
    readonly corrupt: number;
    readonly finishedAt: number;
  };
  readonly partitions: readonly PartitionStatus[];
}

const entrySchema = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{64}$/),
  tag: z.string().refine(isTag),
  corrupt: z.boolean(),
  header: z.unknown().optional(),
});
const statusSchema = z.strictObject({
  id: z.string(),
  zone: z.string().optional(),
  capacityBytes: z.number(),
  usedBytes: z.number(),
  objects: z.number(),
  corruptObjects: z.number(),
  layoutVersion: z.number().int(),
  scrub: z.strictObject({
    running: z.boolean(),
    checked: z.number(),
    total: z.number(),
    corrupt: z.number(),
    finishedAt: z.number(),
  }),
  partitions: z.array(
    z.strictObject({ objects: z.number(), tombstones: z.number(), bytes: z.number(), digest: z.string() }),
  ),
});
const problemSchema = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
  retryable: z.boolean().default(false),
  details: z.record(z.string(), z.unknown()).default({}),
});

/** A node's answer when it could not do something. */
export interface NodeProblem {
  readonly code: string;
  readonly message: string;
  readonly hint?: string | undefined;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Parses an {@link ObjectEntry}. */
export function parseEntry(value: unknown): ObjectEntry {
  const { header, ...entry } = entrySchema.parse(value);
  return { ...entry, ...(header === undefined ? {} : { header: parseVersionHeaderValue(header) }) };
}

/** Parses a page of entries. */
export function parseEntries(value: unknown): ObjectEntry[] {
  return z
    .strictObject({ entries: z.array(z.unknown()) })
    .parse(value)
    .entries.map(parseEntry);
}

/** Parses a {@link NodeStatus}. */
export function parseNodeStatus(value: unknown): NodeStatus {
  const { zone, ...status } = statusSchema.parse(value);
  return { ...status, ...(zone === undefined ? {} : { zone }) };
}

/** Parses a {@link NodeProblem}. */
export function parseNodeProblem(value: unknown): NodeProblem {
  return problemSchema.parse(value);
}

/** Parses `{ layout?: Layout }`. */
export function parseMaybeLayout(value: unknown): Layout | undefined {
  const { layout } = z.strictObject({ layout: z.unknown().optional() }).parse(value);
  return layout === undefined || layout === null ? undefined : parseLayout(layout);
}

/** Parses `{ version, ballot }`. */
export function parsePrepare(value: unknown): { version: number; ballot: string } {
  return z.strictObject({ version: z.number().int().positive(), ballot: z.string().max(64) }).parse(value);
}

/** Parses `{ ballot, layout }`. */
export function parseAccept(value: unknown): AcceptedLayout {
  const { ballot, layout } = z.strictObject({ ballot: z.string().max(64), layout: z.unknown() }).parse(value);
  return { ballot, layout: parseLayout(layout) };
}

/** Parses `{ accepted?: { ballot, layout } }`. */
export function parsePromise(value: unknown): AcceptedLayout | undefined {
  const { accepted } = z.strictObject({ accepted: z.unknown().optional() }).parse(value);
  return accepted === undefined ? undefined : parseAccept(accepted);
}

/** Parses `{ tag }`. */
export function parseTagAnswer(value: unknown): Tag {
  return z.strictObject({ tag: z.string().refine(isTag) }).parse(value).tag;
}

/** Packs a version header into an HTTP header. */
export function packVersionHeader(header: VersionHeader): string {
  return Buffer.from(JSON.stringify(header)).toString('base64url');
}

/** Unpacks it. */
export function unpackVersionHeader(text: string): VersionHeader {
  return parseVersionHeaderValue(JSON.parse(Buffer.from(text, 'base64url').toString('utf8')));
}
