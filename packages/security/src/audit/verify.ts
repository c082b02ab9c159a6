// Verification: walks the chain, and where it breaks says which record, at which byte, and what was done to it.
//
// Pure: it sees lines and checkpoints. The chain alone shows edits, removals and insertions. Somebody who recomputes
// the whole chain after a change, or cuts off its end, is caught by the signed checkpoints; what lies after the newest
// checkpoint that the verifier has is only protected by the chain.

import type { KeyObject } from 'node:crypto';
import { type Checkpoint, verifyCheckpoint } from './checkpoint.ts';
import { type AuditRecord, GENESIS_HASH, readLine } from './record.ts';
import type { RawLine } from './segments.ts';

/** After so many findings the rest is only counted: a log of garbage must not fill memory. */
const MAX_FINDINGS = 1_000;

/** One thing that is wrong. */
export interface AuditFinding {
  /**
   * - `edited`: the record's bytes do not agree with its hash, or with what its successor recorded of it
   * - `removed`: records are missing
   * - `inserted`: a line that the chain does not lead through
   * - `rewritten`: the chain was computed anew: it disagrees with a signed checkpoint
   * - `truncated`: the log ends before a record that a signed checkpoint names
   * - `torn`: the last write was cut off (a crash, not tampering); opening the log repairs it
   * - `checkpoint`: a checkpoint is damaged or not signed by the log's key
   */
  readonly kind: 'edited' | 'removed' | 'inserted' | 'rewritten' | 'truncated' | 'torn' | 'checkpoint';
  /** Number of the (first) record concerned. */
  readonly seq: number;
  /** File and byte where it is (or is missing). */
  readonly file: string;
  readonly offset: number;
  /** A sentence for people. */
  readonly message: string;
}

/** What verification found. */
export interface AuditVerification {
  /** No tampering. A torn tail alone is intact. */
  readonly intact: boolean;
  /** Records read that are in place. */
  readonly records: number;
  /** The last record's number and hash. */
  readonly head: { readonly seq: number; readonly hash: string };
  /** Valid checkpoints, and the highest record that one of them vouches for. */
  readonly checkpoints: number;
  readonly signedThrough: number;
  readonly findings: readonly AuditFinding[];
  /** Findings that were not kept because there were too many. */
  readonly moreFindings: number;
  /** The result as a sentence for people. */
  readonly message: string;
}

/** The result as a sentence: intact through which record, or the first thing that is wrong and where. */
export function describeVerification(found: Omit<AuditVerification, 'message'>): string {
  const { findings, head, signedThrough } = found;
  if (found.intact) {
    const torn =
      findings.length > 0 ? '; the last write was cut off by a crash and was never acknowledged' : '';
    return `intact: ${found.records} records, the newest is ${head.seq}, signed through ${signedThrough}${torn}`;
  }
  const [first] = findings.filter((finding) => finding.kind !== 'torn');
  const more = findings.length + found.moreFindings - 1;
  const where = first === undefined ? '' : `: ${first.message} (${first.file}, byte ${first.offset})`;
  return `NOT intact${where}${more > 0 ? `, and ${more} more findings` : ''}`;
}

interface Line {
  readonly file: string;
  readonly offset: number;
  readonly terminated: boolean;
  readonly record?: AuditRecord;
  readonly intact: boolean;
}

/** Walks a log. Feed it the segments in order, then ask for the {@link AuditVerification}. */
export class ChainVerifier {
  readonly #checkpoints: readonly Checkpoint[];
  readonly #findings: AuditFinding[] = [];
  #moreFindings = 0;
  #checkpointIndex = 0;
  #signedThrough = 0;
  #records = 0;
  #seq: number;
  /** Hash the next record must name; undefined after a break, when any is taken. */
  #head: string | undefined;
  #lastHash: string;
  #end = { file: '', offset: 0 };

  /**
   * @param signed checkpoints in any order; those not signed by `key` become findings
   * @param from where to begin when not at record 1: the record before the first line
   */
  constructor(
    signed: readonly (Checkpoint | undefined)[],
    key: KeyObject,
    checkpointFile: string,
    from: { readonly seq: number; readonly hash: string } = { seq: 0, hash: GENESIS_HASH },
  ) {
    this.#seq = from.seq;
    this.#head = from.hash;
    this.#lastHash = from.hash;
    const valid: Checkpoint[] = [];
    signed.forEach((candidate, index) => {
      if (candidate !== undefined && verifyCheckpoint(candidate, key)) {
        valid.push(candidate);
        return;
      }
      const why = candidate === undefined ? 'is damaged' : 'is not signed by the key of this log';
      this.#report('checkpoint', candidate?.seq ?? 0, checkpointFile, 0, `checkpoint ${index + 1} ${why}`);
    });
    this.#checkpoints = valid.sort((a, b) => a.seq - b.seq);
  }

  /** The next segment, whole. `following`: the first lines of the segment after it; absent when there is none. */
  segment(file: string, raw: readonly RawLine[], following?: readonly RawLine[]): void {
    const lines = [...raw, ...(following ?? []).slice(0, 2)].map((line) => ({
      file,
      ...line,
      // Without its newline a line was not finished, whatever it looks like.
      ...(line.terminated ? readLine(line.bytes) : { intact: false }),
    }));
    for (let index = 0; index < raw.length; index += 1) {
      const line = lines[index];
      if (line === undefined) continue;
      if (!line.terminated && following === undefined && index === raw.length - 1) {
        this.#report(
          'torn',
          this.#seq + 1,
          file,
          line.offset,
          'the last write was cut off; it was never acknowledged',
        );
        continue;
      }
      this.#line(line, lines[index + 1], lines[index + 2]);
    }
    const end = raw.at(-1);
    this.#end = {
      file,
      offset: end === undefined ? 0 : end.offset + end.bytes.length + (end.terminated ? 1 : 0),
    };
  }

  /** The result. */
  finish(): AuditVerification {
    const beyond = this.#checkpoints.at(-1);
    if (beyond !== undefined && beyond.seq > this.#seq) {
      this.#report(
        'truncated',
        this.#seq + 1,
        this.#end.file,
        this.#end.offset,
        `the log ends at record ${this.#seq}, but record ${beyond.seq} was signed at ${new Date(beyond.at).toISOString()}: ` +
          `records ${this.#seq + 1} to ${beyond.seq} were cut off`,
      );
    }
    const found = {
      intact: this.#moreFindings === 0 && this.#findings.every((finding) => finding.kind === 'torn'),
      records: this.#records,
      head: { seq: this.#seq, hash: this.#lastHash },
      checkpoints: this.#checkpoints.length,
      signedThrough: this.#signedThrough,
      findings: this.#findings,
      moreFindings: this.#moreFindings,
    };
    return { ...found, message: describeVerification(found) };
  }

  #line(line: Line, next: Line | undefined, afterNext: Line | undefined): void {
    const expected = this.#seq + 1;
    const { record } = line;
    if (this.#isInserted(line, next, afterNext)) {
      this.#report(
        'inserted',
        expected,
        line.file,
        line.offset,
        `a line was inserted before record ${expected}`,
      );
      return;
    }
    if (record === undefined || !line.intact) {
      // A damaged line stands for the record that should be here, unless its number says that others are missing too.
      const seq =
        record !== undefined && record.seq > expected && record.seq === followed(next)
          ? record.seq
          : expected;
      if (seq > expected) this.#reportRemoved(expected, seq, line);
      const what = record === undefined ? 'is no longer a record' : 'does not agree with its hash';
      this.#report('edited', seq, line.file, line.offset, `record ${seq} was edited: it ${what}`);
      this.#accept(seq, undefined, record?.hash);
      return;
    }
    if (record.seq > expected) this.#reportRemoved(expected, record.seq, line);
    else if (this.#head !== undefined && record.prev !== this.#head) {
      const message = `record ${record.seq} was edited: it follows another record ${record.seq - 1} than the one before it`;
      this.#report('edited', record.seq, line.file, line.offset, message);
    } else if (this.#isReplaced(line, next)) {
      const message = `record ${record.seq} was edited and hashed anew: record ${record.seq + 1} follows a different one`;
      this.#report('edited', record.seq, line.file, line.offset, message);
      this.#accept(record.seq, undefined, record.hash);
      return;
    }
    this.#records += 1;
    this.#accept(record.seq, record.hash, record.hash);
    this.#compareCheckpoints(line, record);
  }

  /** The chain goes on without this line: what follows fits where this one stands. */
  #isInserted(line: Line, next: Line | undefined, afterNext: Line | undefined): boolean {
    const { record } = line;
    const expected = this.#seq + 1;
    if (record !== undefined && line.intact && record.seq < expected) return true;
    const nextFits =
      next?.record !== undefined &&
      next.intact &&
      next.record.seq === expected &&
      next.record.prev === this.#head;
    if (!nextFits) return false;
    if (record === undefined || !line.intact || record.seq !== expected || record.prev !== this.#head)
      return true;
    // Two records claim the place: the one that the chain goes on from is the true one.
    return afterNext?.record === undefined || afterNext.record.prev === next?.record?.hash;
  }

  /** Intact by itself, but its intact successor was chained to something else. */
  #isReplaced(line: Line, next: Line | undefined): boolean {
    if (line.record === undefined || next?.record === undefined || !next.intact) return false;
    return next.record.seq === line.record.seq + 1 && next.record.prev !== line.record.hash;
  }

  #accept(seq: number, head: string | undefined, hash: string | undefined): void {
    this.#seq = seq;
    this.#head = head;
    if (hash !== undefined) this.#lastHash = hash;
  }

  #compareCheckpoints(line: Line, record: AuditRecord): void {
    for (;;) {
      const signed = this.#checkpoints[this.#checkpointIndex];
      if (signed === undefined || signed.seq > record.seq) return;
      this.#checkpointIndex += 1;
      if (signed.seq === 0 || signed.seq < record.seq) continue;
      if (signed.hash === record.hash) {
        this.#signedThrough = record.seq;
        continue;
      }
      const from = this.#signedThrough + 1;
      const range =
        from === record.seq ? `record ${from}` : `one or more of records ${from} to ${record.seq}`;
      const message = `${range} changed and the chain was computed anew: record ${record.seq} has another hash than was signed at ${new Date(signed.at).toISOString()}`;
      this.#report('rewritten', from, line.file, line.offset, message);
    }
  }

  #reportRemoved(from: number, until: number, line: Line): void {
    const what = from === until - 1 ? `record ${from} was` : `records ${from} to ${until - 1} were`;
    this.#report('removed', from, line.file, line.offset, `${what} removed before record ${until}`);
  }

  #report(kind: AuditFinding['kind'], seq: number, file: string, offset: number, message: string): void {
    if (this.#findings.length >= MAX_FINDINGS) this.#moreFindings += 1;
    else this.#findings.push({ kind, seq, file, offset, message });
  }
}

/** The number that the line before `next` must have had, by what `next` says of itself. */
function followed(next: Line | undefined): number | undefined {
  return next?.record !== undefined && next.intact ? next.record.seq - 1 : undefined;
}
