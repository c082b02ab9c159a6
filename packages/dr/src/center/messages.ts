// What centres say to each other: every message is parsed where it arrives.

import { z } from 'zod';
import type { Position } from '../topology/position.ts';

/** How far a copy has come, with the bytes that led there (of the primary's reign), to measure lag. */
export interface Progress {
  readonly position: Position;
  readonly bytes: number;
}

/** Sent by every centre to every other, every heartbeat. */
export interface Heartbeat {
  readonly from: string;
  /** Names this run of the process; a new one makes its past silence meaningless. */
  readonly incarnation: string;
  readonly generation: number;
  readonly role: CenterRole;
  /** Whom the sender follows. */
  readonly primary?: string | undefined;
  /** Undefined of a witness. */
  readonly progress?: Progress | undefined;
  /** Its copy is being rebuilt and must not be promoted. */
  readonly rebuilding: boolean;
  /** Whom the sender suspects: its vantage point. */
  readonly suspects: readonly string[];
}

/** What a centre is now. */
export type CenterRole = 'primary' | 'backup' | 'witness';

/** The answer to a heartbeat. */
export interface HeartbeatAnswer {
  readonly generation: number;
  /** The receiver follows the sender as primary, for a lease's time from now. */
  readonly promised: boolean;
}

/** One change of one key. */
export type EntryOp =
  | {
      readonly op: 'put';
      readonly key: string;
      readonly value: string;
      readonly leaseId?: string | undefined;
    }
  | { readonly op: 'delete'; readonly key: string };

/** One revision of the primary's store. */
export interface Entry {
  /** Undefined: an earlier part of the revision whose last part carries the position. */
  readonly position?: Position | undefined;
  readonly ops: readonly EntryOp[];
  /** Bytes of the reign up to and with this entry. */
  readonly bytes: number;
  /** Of `JSON.stringify([position ?? null, ops])`. */
  readonly sha256: string;
}

/** Entries for a backup. */
export interface Replicate {
  readonly from: string;
  readonly generation: number;
  /** Where the backup must be for these to fit. */
  readonly previous: Position;
  readonly entries: readonly Entry[];
  /** Only asks where the backup is. */
  readonly probe?: boolean | undefined;
}

/** What a backup says to entries or a rebuild. */
export interface ReplicateAnswer {
  readonly outcome: 'applied' | 'mismatch' | 'fenced';
  /** The backup's generation. */
  readonly generation: number;
  readonly position: Position;
  readonly bytes: number;
  readonly rebuilding: boolean;
}

/** Part of a whole copy. `begin` empties nothing: keys are compared page by page, and extra ones go with each page. */
export interface Rebuild {
  readonly from: string;
  readonly generation: number;
  readonly phase: 'begin' | 'page' | 'end';
  /** Keys of the page are all keys greater than this one ... */
  readonly after: string;
  /** ... up to and with this one; undefined: to the end. */
  readonly upTo?: string | undefined;
  readonly kvs: readonly {
    readonly key: string;
    readonly value: string;
    readonly leaseId?: string | undefined;
  }[];
  readonly position: Position;
  readonly bytes: number;
  /** At the end: digest of all keys and values, to be compared with the backup's own. */
  readonly digest?: string | undefined;
}

const position = z.object({
  generation: z.number().int().nonnegative(),
  revision: z.number().int().nonnegative(),
});
const progress = z.object({ position, bytes: z.number() });

/** Parses a {@link Heartbeat}. */
export const heartbeatSchema: z.ZodType<Heartbeat> = z.object({
  from: z.string(),
  incarnation: z.string(),
  generation: z.number().int().nonnegative(),
  role: z.enum(['primary', 'backup', 'witness']),
  primary: z.string().optional(),
  progress: progress.optional(),
  rebuilding: z.boolean(),
  suspects: z.array(z.string()),
});

/** Parses a {@link HeartbeatAnswer}. */
export const heartbeatAnswerSchema: z.ZodType<HeartbeatAnswer> = z.object({
  generation: z.number().int().nonnegative(),
  promised: z.boolean(),
});

/** Parses a request for a vote. */
export const voteSchema: z.ZodType<{
  readonly candidate: string;
  readonly generation: number;
  readonly position: Position;
  readonly trial: boolean;
}> = z.object({
  candidate: z.string(),
  generation: z.number().int().positive(),
  position,
  trial: z.boolean(),
});

/** Parses the answer to it. */
export const voteAnswerSchema: z.ZodType<{
  readonly granted: boolean;
  readonly because: string;
  readonly generation: number;
}> = z.object({ granted: z.boolean(), because: z.string(), generation: z.number().int().nonnegative() });

const op: z.ZodType<EntryOp> = z.discriminatedUnion('op', [
  z.object({ op: z.literal('put'), key: z.string(), value: z.string(), leaseId: z.string().optional() }),
  z.object({ op: z.literal('delete'), key: z.string() }),
]);

/** Parses a {@link Replicate}. */
export const replicateSchema: z.ZodType<Replicate> = z.object({
  from: z.string(),
  generation: z.number().int().positive(),
  previous: position,
  entries: z.array(
    z.object({ position: position.optional(), ops: z.array(op), bytes: z.number(), sha256: z.string() }),
  ),
  probe: z.boolean().optional(),
});

/** Parses a {@link ReplicateAnswer}. */
export const replicateAnswerSchema: z.ZodType<ReplicateAnswer> = z.object({
  outcome: z.enum(['applied', 'mismatch', 'fenced']),
  generation: z.number().int().nonnegative(),
  position,
  bytes: z.number(),
  rebuilding: z.boolean(),
});

/** Parses a {@link Rebuild}. */
export const rebuildSchema: z.ZodType<Rebuild> = z.object({
  from: z.string(),
  generation: z.number().int().positive(),
  phase: z.enum(['begin', 'page', 'end']),
  after: z.string(),
  upTo: z.string().optional(),
  kvs: z.array(z.object({ key: z.string(), value: z.string(), leaseId: z.string().optional() })),
  position,
  bytes: z.number(),
  digest: z.string().optional(),
});

/** Parses a message that only says from whom it is and of which generation. */
export const handOverSchema: z.ZodType<{ readonly from: string; readonly generation: number }> = z.object({
  from: z.string(),
  generation: z.number().int().nonnegative(),
});
