// What an audit log is opened with.

import type { KeyObject } from 'node:crypto';
import type { Clock, Disk } from '@heptad/core';
import type { Redactor } from '../redact/redactor.ts';
import type { Checkpoint } from './checkpoint.ts';

/** Keeps the newest checkpoint out of the log's directory, so that its end cannot be cut off unseen. */
export interface CheckpointWitness {
  load(): Promise<Checkpoint | undefined>;
  save(checkpoint: Checkpoint): Promise<void>;
}

/** Options of {@link AuditLog.open}. */
export interface AuditLogOptions {
  /** Its own directory; made with mode 0700. One process writes to it. */
  readonly directory: string;
  /** Ed25519 private key for checkpoints: see {@link loadSigningKey}. */
  readonly signingKey: KeyObject;
  /** Default {@link nodeDisk}. */
  readonly disk?: Disk;
  readonly clock?: Clock;
  /** `always` (default): `append` resolves once the record survives power loss. `never`: once it survives the process. */
  readonly sync?: 'always' | 'never';
  /** A checkpoint is signed after so many records. Default 100. */
  readonly checkpointEvery?: number;
  /** And at the latest this long after a record. Default 5,000 ms. */
  readonly checkpointAfterMs?: number;
  /** Default 16 MiB. */
  readonly segmentBytes?: number;
  /** Cleans `details`. Default: one that knows telling names and forms only. */
  readonly redactor?: Redactor;
  readonly witness?: CheckpointWitness;
}
