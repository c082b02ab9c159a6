// Reading an audit log from its files: verification and queries. Needs no writer and no private key.

import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { type Disk, nodeDisk } from '@heptad/core';
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts';
import { type AuditEvent, type AuditRecord, readLine } from './record.ts';
import { CHECKPOINT_FILE, listSegments, readWhole, segmentName, splitLines } from './segments.ts';
import { type AuditVerification, ChainVerifier } from './verify.ts';

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;
const LEVELS = ['NONE', 'LOW', 'MEDIUM', 'HIGH'] as const;

/** Options of {@link verifyAuditLog}. */
export interface AuditVerifyOptions {
  readonly directory: string;
  /** The log's Ed25519 key; the public half is enough. */
  readonly key: KeyObject;
  /** Checkpoints kept elsewhere: they show a log whose end was cut off together with its own checkpoints. */
  readonly witnessed?: readonly Checkpoint[];
  readonly disk?: Disk;
  /** Called after each segment. */
  readonly onProgress?: (progress: { segment: number; segments: number }) => void;
  readonly signal?: AbortSignal;
}

/**
 * Verifies a whole log from its files.
 *
 * Answers findings (never throws for them): each names the record, the file and the byte offset.
 */
export async function verifyAuditLog(options: AuditVerifyOptions): Promise<AuditVerification> {
  const disk = options.disk ?? nodeDisk;
  const signed = [...(await readCheckpoints(disk, options.directory)), ...(options.witnessed ?? [])];
  const verifier = new ChainVerifier(signed, options.key, CHECKPOINT_FILE);
  const segments = await listSegments(disk, options.directory);
  const read = async (index: number): Promise<ReturnType<typeof splitLines> | undefined> => {
    const segment = segments[index];
    if (segment === undefined) return undefined;
    return splitLines(await readWhole(disk, join(options.directory, segmentName(segment))));
  };
  let lines = await read(0);
  for (let index = 0; lines !== undefined; index += 1) {
    options.signal?.throwIfAborted();
    const following = await read(index + 1);
    verifier.segment(segmentName(segments[index] ?? 0), lines, following);
    options.onProgress?.({ segment: index + 1, segments: segments.length });
    lines = following;
  }
  return verifier.finish();
}

/** The checkpoints of a log, oldest first; `undefined` for a damaged line. An unfinished last line is left out. */
export async function readCheckpoints(disk: Disk, directory: string): Promise<(Checkpoint | undefined)[]> {
  const lines = splitLines(await readWhole(disk, join(directory, CHECKPOINT_FILE)));
  return lines.filter((line) => line.terminated).map((line) => parseCheckpoint(line.bytes.toString('utf8')));
}

/** Which records to see. All conditions must hold. */
export interface AuditQuery {
  /** From this time on (milliseconds since 1970), and before that one. */
  readonly since?: number;
  readonly until?: number;
  readonly principal?: string;
  readonly action?: string;
  /** A resource and everything below it. */
  readonly resource?: string;
  readonly decision?: AuditEvent['decision'];
  /** This level and higher. */
  readonly level?: AuditEvent['level'];
  /** Records before this number: `nextCursor` of the page before. */
  readonly before?: number;
  /** Default 100, at most 1,000. */
  readonly limit?: number;
}

/** A page of records, newest first. */
export interface AuditPage {
  readonly records: readonly AuditRecord[];
  /** For `before` of the next page; absent at the end. */
  readonly nextCursor?: number;
}

/** Reads records, newest first. Lines that are not intact are left out here; verification tells of them. */
export async function queryAuditLog(disk: Disk, directory: string, query: AuditQuery): Promise<AuditPage> {
  const limit = Math.min(Math.max(1, Math.floor(query.limit ?? DEFAULT_PAGE)), MAX_PAGE);
  const records: AuditRecord[] = [];
  for (const segment of (await listSegments(disk, directory)).reverse()) {
    const lines = splitLines(await readWhole(disk, join(directory, segmentName(segment))));
    for (const line of lines.reverse()) {
      const { record, intact } = readLine(line.bytes);
      if (record === undefined || !intact || !line.terminated || !meets(record, query)) continue;
      if (records.length === limit) return { records, nextCursor: records.at(-1)?.seq ?? 0 };
      records.push(record);
    }
  }
  return { records };
}

function meets(record: AuditRecord, query: AuditQuery): boolean {
  const { event } = record;
  return (
    (query.before === undefined || record.seq < query.before) &&
    (query.since === undefined || record.at >= query.since) &&
    (query.until === undefined || record.at < query.until) &&
    (query.principal === undefined || event.principal.id === query.principal) &&
    (query.action === undefined || event.action === query.action) &&
    (query.resource === undefined ||
      event.resource === query.resource ||
      event.resource.startsWith(`${query.resource}/`)) &&
    (query.decision === undefined || event.decision === query.decision) &&
    (query.level === undefined || LEVELS.indexOf(event.level) >= LEVELS.indexOf(query.level))
  );
}
