// What travels between RemoteStateStore and serveStateStore: JSON, checked on arrival at both ends.

import {
  errorMessage,
  type GrantedLease,
  HeptadError,
  isHeptadError,
  type RangeQuery,
  type RangeResult,
  type Txn,
  type TxnResult,
  type WatchEvent,
} from '@heptad/core';
import { z } from 'zod';

/** Requests bigger than this are refused unread: a full transaction, should every character need a JSON escape. */
export const MAXIMUM_BODY_BYTES: number = 12 * 1024 * 1024;
/** A silent watch says that it is alive this often... */
export const WATCH_ALIVE_EVERY_MS = 5_000;
/** ...and one that was silent for this long is dead. */
export const WATCH_DEAD_AFTER_MS = 15_000;

const keyValue = z.object({
  key: z.string(),
  value: z.string(),
  createRevision: z.number(),
  modRevision: z.number(),
  version: z.number(),
  leaseId: z.string().exactOptional(),
});
const rangeQuery = z.strictObject({
  key: z.string(),
  end: z.string().exactOptional(),
  prefix: z.boolean().exactOptional(),
  revision: z.number().exactOptional(),
  limit: z.number().exactOptional(),
});
const order = z.enum(['=', '!=', '<', '>']);
const compare = z.union([
  z.strictObject({
    key: z.string(),
    target: z.enum(['version', 'createRevision', 'modRevision']),
    is: order,
    than: z.number(),
  }),
  z.strictObject({ key: z.string(), target: z.literal('value'), is: order, than: z.string() }),
  z.strictObject({ key: z.string(), target: z.literal('lease'), is: z.enum(['=', '!=']), than: z.string() }),
]);
const op = z.discriminatedUnion('op', [
  z.strictObject({
    op: z.literal('put'),
    key: z.string(),
    value: z.string(),
    leaseId: z.string().exactOptional(),
  }),
  z.strictObject({
    op: z.literal('delete'),
    key: z.string(),
    end: z.string().exactOptional(),
    prefix: z.boolean().exactOptional(),
  }),
  z.strictObject({ op: z.literal('range'), query: rangeQuery }),
]);
const txn = z.strictObject({
  compare: z.array(compare),
  success: z.array(op),
  failure: z.array(op).exactOptional(),
  requestId: z.string().exactOptional(),
});
const rangeResult = z.object({ kvs: z.array(keyValue), revision: z.number(), more: z.boolean() });
const txnResult = z.object({
  succeeded: z.boolean(),
  revision: z.number(),
  results: z.array(
    z.discriminatedUnion('op', [
      z.object({ op: z.literal('put'), previous: keyValue.exactOptional() }),
      z.object({ op: z.literal('delete'), deleted: z.array(keyValue) }),
      z.object({ op: z.literal('range'), kvs: z.array(keyValue), more: z.boolean() }),
    ]),
  ),
});
const granted = z.object({ id: z.string(), ttlMs: z.number() });
const watchRequest = z.strictObject({ prefix: z.string(), fromRevision: z.number().exactOptional() });
const watchEvent = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('put'),
    kv: keyValue,
    previous: keyValue.exactOptional(),
    revision: z.number(),
  }),
  z.object({
    type: z.literal('delete'),
    key: z.string(),
    previous: keyValue.exactOptional(),
    revision: z.number(),
  }),
]);
const problem = z.object({
  code: z.string(),
  detail: z.string(),
  hint: z.string().exactOptional(),
  retryable: z.boolean().default(false),
  details: z.record(z.string(), z.unknown()).default({}),
});
const watchFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('started'), fromRevision: z.number() }),
  z.object({ type: z.literal('events'), events: z.array(watchEvent) }),
  z.object({ type: z.literal('alive') }),
  z.object({ type: z.literal('error'), error: problem }),
]);

/** A watch as it is asked for. */
export interface WatchRequest {
  readonly prefix: string;
  readonly fromRevision?: number;
}

/** An error as it travels: the members of an RFC 9457 problem that a {@link HeptadError} needs. */
export interface Problem {
  readonly code: string;
  readonly detail: string;
  readonly hint?: string;
  readonly retryable: boolean;
  readonly details: Record<string, unknown>;
}

/** One line of a watch's answer. */
export type WatchFrame =
  | { readonly type: 'started'; readonly fromRevision: number }
  | { readonly type: 'events'; readonly events: readonly WatchEvent[] }
  | { readonly type: 'alive' }
  | { readonly type: 'error'; readonly error: Problem };

/** A parser of one kind of message. Throws `INVALID_ARGUMENT` naming every problem. */
export type Parse<T> = (value: unknown) => T;

function parser<T>(what: string, schema: z.ZodType<T>): Parse<T> {
  return (value) => {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new HeptadError('INVALID_ARGUMENT', `malformed ${what}: ${z.prettifyError(parsed.error)}`);
  };
}

/** Parsers of what a server receives. */
export const parseRequest: {
  readonly range: Parse<RangeQuery>;
  readonly txn: Parse<Txn>;
  readonly compact: Parse<{ revision: number }>;
  readonly grant: Parse<{ ttlMs: number }>;
  readonly lease: Parse<{ id: string }>;
  readonly watch: Parse<WatchRequest>;
} = {
  range: parser('range query', rangeQuery),
  txn: parser('transaction', txn),
  compact: parser('compaction', z.strictObject({ revision: z.number() })),
  grant: parser('lease request', z.strictObject({ ttlMs: z.number() })),
  lease: parser('lease request', z.strictObject({ id: z.string() })),
  watch: parser('watch', watchRequest),
};

/** Parsers of what a client receives. */
export const parseAnswer: {
  readonly range: Parse<RangeResult>;
  readonly txn: Parse<TxnResult>;
  readonly granted: Parse<GrantedLease>;
  readonly nothing: Parse<void>;
  readonly frame: Parse<WatchFrame>;
  readonly problem: Parse<Problem>;
} = {
  range: parser('range result', rangeResult),
  txn: parser('transaction result', txnResult),
  granted: parser('lease', granted),
  nothing: () => undefined,
  frame: parser('watch frame', watchFrame),
  problem: parser('problem', problem),
};

/** HTTP status of each code that has its own; others are 500. */
const STATUS: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  FUTURE_REVISION: 400,
  TOO_MANY_OPERATIONS: 400,
  DUPLICATE_KEY: 400,
  ACCESS_DENIED: 403,
  NOT_FOUND: 404,
  LEASE_NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  COMPACTED: 410,
  REQUEST_TOO_LARGE: 413,
  STORE_CLOSED: 503,
  UNAVAILABLE: 503,
};

/** Status of an answer that carries the error. */
export function statusOf(error: HeptadError): number {
  return STATUS[error.code] ?? 500;
}

/** An error as a problem; anything unexpected is `INTERNAL` and shows nothing of our insides but its message. */
export function toProblem(thrown: unknown): Problem & { type: string; title: string; status: number } {
  const error = isHeptadError(thrown) ? thrown : new HeptadError('INTERNAL', errorMessage(thrown));
  return {
    type: `urn:heptad:error:${error.code}`,
    title: error.code,
    status: statusOf(error),
    code: error.code,
    detail: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    retryable: error.retryable,
    details: { ...error.details },
  };
}

/** The error a problem stands for. */
export function fromProblem(problem: Problem): HeptadError {
  const { code, detail, hint, retryable, details } = problem;
  return new HeptadError(code, detail, { retryable, details, ...(hint === undefined ? {} : { hint }) });
}
