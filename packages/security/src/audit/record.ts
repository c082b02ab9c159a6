// One audit record: its form on disk, its hash, and how a line is read back.
//
// A line is the canonical JSON of { at, event, hash, prev, seq } and a newline; hash is SHA-256 over the canonical JSON
// of the same without `hash`. `prev` is the hash of the record before (64 zeros before the first). So every record
// fixes all before it, and a line has exactly one valid byte sequence.

import { hash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical.ts';
import { SecurityError } from '../errors.ts';

/** The `prev` of record 1. */
export const GENESIS_HASH: string = '0'.repeat(64);
/** A record tells that something happened, not its content. */
export const MAX_EVENT_BYTES: number = 16 * 1024;

/** What happened. */
export interface AuditEvent {
  /** Who acted. */
  readonly principal: { readonly id: string; readonly type: 'user' | 'service' | 'node' | 'anonymous' };
  /** What was done: `read`, `write`, `execute`, `login`, `key.rotate`... */
  readonly action: string;
  /** To what: `services/web`. */
  readonly resource: string;
  readonly decision: 'allowed' | 'denied';
  readonly level: 'NONE' | 'LOW' | 'MEDIUM' | 'HIGH';
  /** The rules that made the decision. */
  readonly because?: readonly string[] | undefined;
  /** How it ended, once it was allowed. */
  readonly outcome?: 'success' | 'failure' | undefined;
  /** Where the request came from. */
  readonly client?: string | undefined;
  readonly requestId?: string | undefined;
  /** More facts; cleaned of secrets before they are written. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** What happened, when, and its place in the chain. */
export interface AuditRecord {
  readonly at: number;
  readonly event: AuditEvent;
  /** SHA-256 of the record without this member. */
  readonly hash: string;
  /** Hash of the record before; {@link GENESIS_HASH} for the first. */
  readonly prev: string;
  /** From 1, without gaps. */
  readonly seq: number;
}

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/);
const auditEvent: z.ZodType<AuditEvent> = z.strictObject({
  principal: z.strictObject({ id: z.string(), type: z.enum(['user', 'service', 'node', 'anonymous']) }),
  action: z.string().min(1),
  resource: z.string().min(1),
  decision: z.enum(['allowed', 'denied']),
  level: z.enum(['NONE', 'LOW', 'MEDIUM', 'HIGH']),
  because: z.array(z.string()).optional(),
  outcome: z.enum(['success', 'failure']).optional(),
  client: z.string().optional(),
  requestId: z.string().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
});
const auditRecord: z.ZodType<AuditRecord> = z.strictObject({
  at: z.number().int(),
  event: auditEvent,
  hash: sha256Hex,
  prev: sha256Hex,
  seq: z.number().int().positive(),
});

/** What a record adds to its event: hashes, number, time, punctuation. */
const RECORD_OVERHEAD_BYTES = 256;

/**
 * Checks an event's form and size, before it joins others in a write that one bad event must not spoil.
 * `INVALID_ARGUMENT` names what is wrong.
 */
export function parseAuditEvent(value: unknown): AuditEvent {
  const result = auditEvent.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new SecurityError(
      'INVALID_ARGUMENT',
      `cannot append to the audit log: ${issue?.path.join('.')}: ${issue?.message}`,
    );
  }
  const bytes = Buffer.byteLength(canonicalJson(result.data)) + RECORD_OVERHEAD_BYTES;
  if (bytes <= MAX_EVENT_BYTES) return result.data;
  throw new SecurityError(
    'INVALID_ARGUMENT',
    `cannot append to the audit log: the record has about ${bytes} bytes, the limit is ${MAX_EVENT_BYTES}`,
    { hint: 'log that it happened and where the content is, not the content' },
  );
}

function hashOf(record: Omit<AuditRecord, 'hash'>): string {
  return hash(
    'sha256',
    canonicalJson({ at: record.at, event: record.event, prev: record.prev, seq: record.seq }),
    'hex',
  );
}

/** The record and its line. */
export function chainRecord(
  seq: number,
  prev: string,
  at: number,
  event: AuditEvent,
): { record: AuditRecord; line: Buffer } {
  const unsigned = { seq, prev, at, event };
  const record = { ...unsigned, hash: hashOf(unsigned) };
  const line = Buffer.from(`${canonicalJson(record)}\n`);
  return { record, line };
}

/** A line as found: what it claims, and whether its own bytes agree with its hash. */
export interface ReadLine {
  /** Undefined when the line is no record at all. */
  readonly record?: AuditRecord;
  /** The record's hash is that of its content, and the line is its canonical form. */
  readonly intact: boolean;
}

/** Reads a line (without its newline). Never throws. */
export function readLine(bytes: Buffer): ReadLine {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    return { intact: false };
  }
  const parsed = auditRecord.safeParse(value);
  if (!parsed.success) return { intact: false };
  const record = parsed.data;
  try {
    return {
      record,
      intact: hashOf(record) === record.hash && bytes.equals(Buffer.from(canonicalJson(record))),
    };
  } catch {
    return { record, intact: false };
  }
}
