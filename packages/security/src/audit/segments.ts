// The files of an audit log: numbered segments of records, and the checkpoints beside them.

import type { Disk } from '@heptad/core';

const SEGMENT_PATTERN = /^audit-(\d{8})\.jsonl$/;
const READ_BYTES = 1024 * 1024;

/** Name of the file that holds the checkpoints, one JSON text a line. */
export const CHECKPOINT_FILE = 'checkpoints.jsonl';

/** `audit-00000001.jsonl` for 1. */
export function segmentName(index: number): string {
  return `audit-${String(index).padStart(8, '0')}.jsonl`;
}

/** The numbers of the segments in `directory`, ascending. */
export async function listSegments(disk: Disk, directory: string): Promise<number[]> {
  const names = (await disk.exists(directory)) ? await disk.list(directory) : [];
  return names
    .map((name) => SEGMENT_PATTERN.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}

/** The whole file. Segments are bounded, so that one fits in memory. */
export async function readWhole(disk: Disk, path: string): Promise<Buffer> {
  if (!(await disk.exists(path))) return Buffer.alloc(0);
  await using file = await disk.open(path, 'read');
  const size = await file.size();
  const pieces: Uint8Array[] = [];
  for (let offset = 0; offset < size; ) {
    const piece = await file.read(offset, Math.min(READ_BYTES, size - offset));
    if (piece.length === 0) break;
    pieces.push(piece);
    offset += piece.length;
  }
  return Buffer.concat(pieces);
}

/** A stretch of a file up to a newline. */
export interface RawLine {
  readonly offset: number;
  /** Without the newline. */
  readonly bytes: Buffer;
  /** False for what follows the last newline: a write that was cut off. */
  readonly terminated: boolean;
}

/** The lines of a file with their places. */
export function splitLines(data: Buffer): RawLine[] {
  const lines: RawLine[] = [];
  for (let offset = 0; offset < data.length; ) {
    const newline = data.indexOf(0x0a, offset);
    const end = newline === -1 ? data.length : newline;
    lines.push({ offset, bytes: data.subarray(offset, end), terminated: newline !== -1 });
    offset = end + 1;
  }
  return lines;
}
