// Entries: one revision of a primary's store, checksummed, and cut so that every part fits a transaction.

import { createHash } from 'node:crypto';
import { HeptadError, type Op, STATE_STORE_LIMITS, type WatchEvent } from '@heptad/core';
import { LEASED_PREFIX, LOCAL_PREFIX } from '../center/local-state.ts';
import type { Entry, EntryOp } from '../center/messages.ts';
import type { Position } from '../topology/position.ts';

/**
 * Operations of one part. Each may need two of the store's (the key, and the note of its lease), and the mark one more; the
 * store allows 128.
 */
const OPS_PER_PART: number = Math.floor((STATE_STORE_LIMITS.operations - 2) / 2);
/** Bytes of one part: leaves room for the mark and the notes of leases. */
const BYTES_PER_PART: number = STATE_STORE_LIMITS.requestBytes - 64 * 1024;

/** Whether a key is replicated. */
export function isReplicated(key: string): boolean {
  return !key.startsWith(LOCAL_PREFIX);
}

/** The replicated changes of a revision. */
export function opsOf(events: readonly WatchEvent[]): EntryOp[] {
  return events.flatMap((event): EntryOp[] => {
    if (event.type === 'delete') return isReplicated(event.key) ? [{ op: 'delete', key: event.key }] : [];
    const { key, value, leaseId } = event.kv;
    if (!isReplicated(key)) return [];
    return [{ op: 'put', key, value, ...(leaseId === undefined ? {} : { leaseId }) }];
  });
}

/** Bytes of a change: what it costs to send and to keep. */
export function opBytes(op: EntryOp): number {
  return Buffer.byteLength(op.key) + (op.op === 'put' ? Buffer.byteLength(op.value) : 0);
}

/** Checksum of an entry. */
export function entryDigest(position: Position | undefined, ops: readonly EntryOp[]): string {
  return createHash('sha256')
    .update(JSON.stringify([position ?? null, ops]))
    .digest('hex');
}

/**
 * Makes entries of a revision: one, or, where it would not fit a backup's transaction, several of which the last carries the
 * position. A backup interrupted in between is not at the position and receives all of it again.
 */
export function makeEntries(
  position: Position | undefined,
  ops: readonly EntryOp[],
  bytesBefore: number,
): Entry[] {
  const parts: EntryOp[][] = [[]];
  let partBytes = 0;
  for (const op of ops) {
    const size = opBytes(op);
    const part = parts.at(-1) ?? [];
    if (part.length > 0 && (part.length >= OPS_PER_PART || partBytes + size > BYTES_PER_PART)) {
      parts.push([op]);
      partBytes = size;
    } else {
      part.push(op);
      partBytes += size;
    }
  }
  let bytes = bytesBefore;
  return parts.map((part, index) => {
    bytes += part.reduce((sum, op) => sum + opBytes(op), 0);
    const own = index === parts.length - 1 ? position : undefined;
    return {
      ...(own === undefined ? {} : { position: own }),
      ops: part,
      bytes,
      sha256: entryDigest(own, part),
    };
  });
}

/** Error: `CHECKSUM_MISMATCH` when an entry is not what was sent. */
export function verifyEntry(entry: Entry): void {
  if (entryDigest(entry.position, entry.ops) !== entry.sha256) {
    throw new HeptadError('CHECKSUM_MISMATCH', 'refused an entry: its checksum does not fit its content', {
      retryable: true,
    });
  }
}

/**
 * The store's operations for a change. A lease of the primary is nothing here; that the key hangs on one is noted, so that a
 * promoted backup can let it lapse.
 */
export function storeOps(op: EntryOp): Op[] {
  const note = LEASED_PREFIX + op.key;
  if (Buffer.byteLength(note) > STATE_STORE_LIMITS.keyBytes) {
    // Too long a name to note: such a key merely outlives its lease after a failover.
    return [op.op === 'delete' ? op : { op: 'put', key: op.key, value: op.value }];
  }
  if (op.op === 'delete') return [op, { op: 'delete', key: note }];
  const put: Op = { op: 'put', key: op.key, value: op.value };
  return op.leaseId === undefined
    ? [put, { op: 'delete', key: note }]
    : [put, { op: 'put', key: note, value: op.leaseId }];
}
