// AuditLog: an append-only file of hash-chained records, durable before the caller goes on.

import { createPublicKey, hash } from 'node:crypto';
import { join } from 'node:path';
import {
  type Clock,
  type Disk,
  type DiskFile,
  errorMessage,
  nodeDisk,
  systemClock,
  type Timer,
} from '@heptad/core';
import { SecurityError } from '../errors.ts';
import { makePrivateDirectory } from '../files.ts';
import { Redactor } from '../redact/redactor.ts';
import type { AuditLogOptions } from './audit-options.ts';
import { type AuditPage, type AuditQuery, queryAuditLog, verifyAuditLog } from './audit-reader.ts';
import { signCheckpoint } from './checkpoint.ts';
import { openTail, type Tail } from './open-tail.ts';
import { type AuditEvent, type AuditRecord, chainRecord, parseAuditEvent } from './record.ts';
import { CHECKPOINT_FILE, segmentName } from './segments.ts';
import { type AuditVerification, describeVerification } from './verify.ts';

/** Small enough to be read at once when verified, large enough that files stay few. */
const SEGMENT_BYTES = 16 * 1024 * 1024;
/** Records that wait for the disk; beyond, callers are refused instead of memory filled. */
const MAX_WAITING = 10_000;
/** One write and one fsync carry at most so many records. */
const MAX_BATCH = 1_000;

interface Waiting {
  readonly event: AuditEvent;
  readonly resolve: (record: AuditRecord) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A tamper-evident audit log.
 *
 * Every record holds the hash of the one before it, and signed checkpoints fix the chain: see {@link verifyAuditLog}
 * for what is detected. A write that a crash cut off is repaired at the next opening, and a record says so; anything
 * else that does not fit is never repaired: opening fails with `AUDIT_CORRUPT` and changes nothing.
 *
 * @example
 * ```ts
 * import { mkdtemp } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { AuditLog, loadSigningKey } from '@heptad/security';
 *
 * const directory = await mkdtemp(join(tmpdir(), 'audit-'));
 * const signingKey = await loadSigningKey(join(directory, 'signing.pem'));
 * await using log = await AuditLog.open({ directory: join(directory, 'log'), signingKey });
 * await log.append({
 *   principal: { id: 'ada', type: 'user' }, action: 'write', resource: 'services/web', decision: 'allowed', level: 'HIGH',
 * });
 * const { intact, records } = await log.verify();
 * console.log(intact, records); // true 1
 * ```
 */
export class AuditLog implements AsyncDisposable {
  readonly #options: AuditLogOptions;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #redactor: Redactor;
  readonly #waiting: Waiting[] = [];
  #tail: Tail;
  #file: DiskFile;
  #checkpoints: DiskFile;
  #signedSeq: number;
  #timer: Timer | undefined;
  #turn: Promise<void> = Promise.resolve();
  #failure: SecurityError | undefined;
  #closed = false;

  private constructor(options: AuditLogOptions, tail: Tail, file: DiskFile, checkpoints: DiskFile) {
    this.#options = options;
    this.#disk = options.disk ?? nodeDisk;
    this.#clock = options.clock ?? systemClock;
    this.#redactor = options.redactor ?? new Redactor();
    this.#tail = tail;
    this.#file = file;
    this.#checkpoints = checkpoints;
    this.#signedSeq = tail.signedSeq;
  }

  /** Opens a log or begins one. `AUDIT_CORRUPT` when its newest part was tampered with (older parts: `verify`). */
  static async open(options: AuditLogOptions): Promise<AuditLog> {
    const disk = options.disk ?? nodeDisk;
    if (options.disk === undefined) await makePrivateDirectory(options.directory);
    else await disk.makeDirectory(options.directory);
    const witnessed = await options.witness?.load();
    const key = createPublicKey(options.signingKey);
    const tail = await openTail(disk, options.directory, key, witnessed === undefined ? [] : [witnessed]);
    const file = await openForWriting(disk, join(options.directory, segmentName(tail.segment)));
    const checkpoints = await openForWriting(disk, join(options.directory, CHECKPOINT_FILE));
    await disk.syncDirectory(options.directory);
    const log = new AuditLog(options, tail, file, checkpoints);
    await checkpoints.truncate(tail.checkpointBytes);
    if (tail.torn !== undefined) await log.#recover(tail.torn);
    return log;
  }

  /** Number and hash of the last record. */
  get head(): { readonly seq: number; readonly hash: string } {
    return { seq: this.#tail.seq, hash: this.#tail.hash };
  }

  /** PEM of the public half of the signing key: all that a verifier elsewhere needs. */
  get publicKeyPem(): string {
    return createPublicKey(this.#options.signingKey).export({ type: 'spki', format: 'pem' }).toString();
  }

  /**
   * Appends one event. Resolves with its record once it is durable; records keep the order of the calls.
   *
   * Errors: `INVALID_ARGUMENT`, `AUDIT_OVERLOADED`, `AUDIT_FAILED` (the disk refused: whoever must not act unrecorded
   * must not act), `AUDIT_CONFLICT` (somebody else writes the file), `CLOSED`.
   */
  append(event: AuditEvent): Promise<AuditRecord> {
    if (this.#closed)
      return Promise.reject(new SecurityError('CLOSED', 'cannot append: the audit log is closed'));
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#waiting.length >= MAX_WAITING) {
      return Promise.reject(
        new SecurityError(
          'AUDIT_OVERLOADED',
          `cannot append: ${MAX_WAITING} records already wait for the disk`,
          {
            retryable: true,
          },
        ),
      );
    }
    return new Promise((resolve, reject) => {
      const clean = parseAuditEvent(this.#redactor.value(event));
      this.#waiting.push({ event: clean, resolve, reject });
      if (this.#waiting.length === 1) this.#inTurn(() => this.#writeWaiting());
    });
  }

  /** Signs the present head, unless it is signed already. */
  async checkpoint(): Promise<void> {
    await this.#inTurn(() => this.#sign());
  }

  /** Waits for what was appended so far, then verifies the whole log. */
  async verify(
    options: {
      readonly onProgress?: (progress: { segment: number; segments: number }) => void;
      readonly signal?: AbortSignal;
    } = {},
  ): Promise<AuditVerification> {
    // In turn: no write is under way while the files are read.
    let result: AuditVerification | undefined;
    await this.#inTurn(async () => {
      const witnessed = await this.#options.witness?.load();
      const { directory, signingKey } = this.#options;
      const key = createPublicKey(signingKey);
      const witness = witnessed === undefined ? {} : { witnessed: [witnessed] };
      result = await verifyAuditLog({ directory, key, disk: this.#disk, ...witness, ...options });
    });
    if (result === undefined)
      throw new SecurityError('AUDIT_FAILED', 'cannot verify: the audit log did not answer');
    return this.#compareWithMemory(result);
  }

  /** A page of records, newest first. */
  query(query: AuditQuery = {}): Promise<AuditPage> {
    return queryAuditLog(this.#disk, this.#options.directory, query);
  }

  /** Writes what waits, signs the head and closes the files. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    await this.#inTurn(async () => {
      await this.#writeWaiting();
      if (this.#failure === undefined) await this.#sign();
    }).finally(() => Promise.all([this.#file.close(), this.#checkpoints.close()]));
  }

  /** A live log also knows its head: a record cut off after the last checkpoint shows as well. */
  #compareWithMemory(found: AuditVerification): AuditVerification {
    if (found.head.seq >= this.#tail.seq && found.findings.every((finding) => finding.kind !== 'torn'))
      return found;
    if (found.findings.some((finding) => finding.kind === 'truncated')) return found;
    const from = found.head.seq + 1;
    const missing = {
      kind: 'truncated' as const,
      seq: from,
      file: segmentName(this.#tail.segment),
      offset: this.#tail.bytes,
      message: `the log ends at record ${found.head.seq}, but record ${this.#tail.seq} was written: records ${from} to ${this.#tail.seq} were cut off`,
    };
    const corrected = { ...found, intact: false, findings: [...found.findings, missing] };
    return { ...corrected, message: describeVerification(corrected) };
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #writeWaiting(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_BATCH);
      try {
        const records = await this.#writeBatch(batch.map((waiting) => waiting.event));
        batch.forEach((waiting, index) => {
          const record = records[index];
          if (record !== undefined) waiting.resolve(record);
        });
      } catch (error) {
        for (const waiting of batch) waiting.reject(error);
      }
    }
  }

  async #writeBatch(events: readonly AuditEvent[]): Promise<AuditRecord[]> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await this.#requireOwnFile();
      if (this.#tail.bytes >= (this.#options.segmentBytes ?? SEGMENT_BYTES)) await this.#rotate();
    } catch (error) {
      throw asAuditFailure(error);
    }
    const chained: ReturnType<typeof chainRecord>[] = [];
    let { seq, hash: prev } = this.#tail;
    for (const event of events) {
      const next = chainRecord(seq + 1, prev, this.#clock.now(), event);
      chained.push(next);
      seq = next.record.seq;
      prev = next.record.hash;
    }
    const data = Buffer.concat(chained.map((next) => next.line));
    await this.#writeDurably(data);
    this.#tail = { ...this.#tail, seq, hash: prev, bytes: this.#tail.bytes + data.length };
    await this.#signWhenDue();
    return chained.map((next) => next.record);
  }

  async #writeDurably(data: Buffer): Promise<void> {
    try {
      await this.#file.write(this.#tail.bytes, data);
    } catch (error) {
      // Nothing of the batch was acknowledged: take back what part of it may be there, so that the chain can go on.
      await this.#file.truncate(this.#tail.bytes).catch((second: unknown) => this.#fail(second));
      throw asAuditFailure(error);
    }
    if (this.#options.sync === 'never') return;
    // After a failed fsync the kernel may have dropped the pages: what is on disk is unknown, so nothing may follow.
    await this.#file.datasync().catch((error: unknown) => {
      throw this.#fail(error);
    });
  }

  #fail(error: unknown): SecurityError {
    this.#failure = asAuditFailure(error);
    return this.#failure;
  }

  async #requireOwnFile(): Promise<void> {
    if ((await this.#file.size()) === this.#tail.bytes) return;
    throw this.#fail(
      new SecurityError(
        'AUDIT_CONFLICT',
        `cannot append to ${segmentName(this.#tail.segment)} of the audit log: somebody else has changed its length`,
        { hint: 'verify the log; one process may write it' },
      ),
    );
  }

  async #rotate(): Promise<void> {
    await this.#sign();
    const segment = this.#tail.segment + 1;
    const file = await openForWriting(this.#disk, join(this.#options.directory, segmentName(segment)));
    await this.#disk.syncDirectory(this.#options.directory);
    const old = this.#file;
    this.#file = file;
    this.#tail = { ...this.#tail, segment, bytes: 0 };
    await old.close();
  }

  async #signWhenDue(): Promise<void> {
    if (this.#tail.seq - this.#signedSeq >= (this.#options.checkpointEvery ?? 100)) {
      // The records are durable already: a checkpoint that fails is tried again at the next one.
      await this.#sign().catch(() => undefined);
      return;
    }
    this.#timer ??= this.#clock.timer(
      this.#options.checkpointAfterMs ?? 5_000,
      () => {
        this.#timer = undefined;
        if (!this.#closed) this.#inTurn(() => this.#sign()).catch(() => undefined);
      },
      { unref: true },
    );
  }

  async #sign(): Promise<void> {
    if (this.#signedSeq === this.#tail.seq || this.#failure !== undefined) return;
    // A checkpoint must never promise a record that a power loss can take back.
    if (this.#options.sync === 'never') await this.#file.datasync();
    const signed = signCheckpoint(
      this.#tail.seq,
      this.#tail.hash,
      this.#clock.now(),
      this.#options.signingKey,
    );
    const line = Buffer.from(`${JSON.stringify(signed)}\n`);
    await this.#checkpoints.write(this.#tail.checkpointBytes, line);
    await this.#checkpoints.datasync();
    this.#tail = { ...this.#tail, checkpointBytes: this.#tail.checkpointBytes + line.length };
    this.#signedSeq = signed.seq;
    // The log is whole without its witness, which gets the next checkpoint again.
    await this.#options.witness?.save(signed).catch(() => undefined);
  }

  async #recover(torn: Buffer): Promise<void> {
    await this.#file.truncate(this.#tail.bytes);
    await this.#file.datasync();
    await this.append({
      principal: { id: 'heptad', type: 'service' },
      action: 'audit.recover',
      resource: `audit/${segmentName(this.#tail.segment)}`,
      decision: 'allowed',
      level: 'HIGH',
      details: { cutOffBytes: torn.length, sha256: hash('sha256', torn, 'hex') },
    });
  }
}

function asAuditFailure(error: unknown): SecurityError {
  if (error instanceof SecurityError) return error;
  return new SecurityError('AUDIT_FAILED', `cannot write the audit log: ${errorMessage(error)}`, {
    cause: error,
    hint: 'free the disk or repair it; acts that must be recorded are refused until then',
  });
}

async function openForWriting(disk: Disk, path: string): Promise<DiskFile> {
  return disk.open(path, (await disk.exists(path)) ? 'write' : 'create-new');
}
