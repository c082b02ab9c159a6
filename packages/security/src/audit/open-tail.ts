// Where an existing log ends: its newest segment checked, and what a crash cut off told apart from damage.

import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import type { Disk } from '@heptad/core';
import { SecurityError } from '../errors.ts';
import { readCheckpoints } from './audit-reader.ts';
import type { Checkpoint } from './checkpoint.ts';
import { GENESIS_HASH, readLine } from './record.ts';
import { CHECKPOINT_FILE, listSegments, readWhole, segmentName, splitLines } from './segments.ts';
import { ChainVerifier } from './verify.ts';

/** The end of a log, from which writing goes on. */
export interface Tail {
  /** Number of the segment that is written to. */
  readonly segment: number;
  /** Its valid bytes. */
  readonly bytes: number;
  /** The last record. */
  readonly seq: number;
  readonly hash: string;
  /** Valid bytes of the checkpoint file, and the record its newest checkpoint names. */
  readonly checkpointBytes: number;
  readonly signedSeq: number;
  /** Bytes of a cut-off write that follow. */
  readonly torn?: Buffer;
}

/** Reads and checks the end of the log. `AUDIT_CORRUPT`; changes nothing. */
export async function openTail(
  disk: Disk,
  directory: string,
  key: KeyObject,
  witnessed: readonly Checkpoint[],
): Promise<Tail> {
  const segments = await listSegments(disk, directory);
  const signed = await readCheckpoints(disk, directory);
  const checkpointData = await readWhole(disk, join(directory, CHECKPOINT_FILE));
  const last = segments.at(-1) ?? 1;
  const lines = splitLines(await readWhole(disk, join(directory, segmentName(last))));
  const start = await startOf(disk, directory, segments, lines);
  const verifier = new ChainVerifier([...signed, ...witnessed], key, CHECKPOINT_FILE, start);
  verifier.segment(segmentName(last), lines);
  const { head, findings } = verifier.finish();
  const damage = findings.find((finding) => finding.kind !== 'torn');
  if (damage !== undefined) {
    throw new SecurityError(
      'AUDIT_CORRUPT',
      `cannot open the audit log ${directory}: ${damage.message} (${damage.file}, byte ${damage.offset})`,
      {
        hint: 'keep the directory as evidence, verify it, and move it aside to begin a new log; nothing was changed',
        details: { directory, ...damage },
      },
    );
  }
  const end = lines.at(-1);
  const tornAt = end !== undefined && !end.terminated ? end : undefined;
  const size = end === undefined ? 0 : end.offset + end.bytes.length + 1;
  return {
    segment: last,
    bytes: tornAt?.offset ?? size,
    ...head,
    checkpointBytes: checkpointData.lastIndexOf(0x0a) + 1,
    signedSeq: signed.at(-1)?.seq ?? 0,
    ...(tornAt === undefined ? {} : { torn: Buffer.from(tornAt.bytes) }),
  };
}

/** The record before the newest segment's first line. */
async function startOf(
  disk: Disk,
  directory: string,
  segments: readonly number[],
  lines: ReturnType<typeof splitLines>,
): Promise<{ seq: number; hash: string }> {
  const previous = segments.at(-2);
  if (previous !== undefined) {
    const before = splitLines(await readWhole(disk, join(directory, segmentName(previous)))).at(-1);
    const { record, intact } = before === undefined ? { intact: false } : readLine(before.bytes);
    if (record !== undefined && intact) return { seq: record.seq, hash: record.hash };
    // The older segment is damaged at its end. Appending stays possible; verification tells of it.
    const first = lines[0] === undefined ? { intact: false } : readLine(lines[0].bytes);
    if (first.record !== undefined && first.intact)
      return { seq: first.record.seq - 1, hash: first.record.prev };
  }
  return { seq: 0, hash: GENESIS_HASH };
}
