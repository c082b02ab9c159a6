// What a centre answers: to other centres, and to clients.

import { HeptadError, type RangeQuery, type Txn } from '@heptad/core';
import { z } from 'zod';
import type { ObjectReplication } from '../replicate/objects.ts';
import type { CenterProtocol } from './center.ts';
import type { DisasterRecovery } from './disaster-recovery.ts';
import { handOverSchema, heartbeatSchema, rebuildSchema, replicateSchema, voteSchema } from './messages.ts';
import type { CallHandler } from './transport.ts';

const rangeSchema = z.object({
  key: z.string(),
  end: z.string().optional(),
  prefix: z.boolean().optional(),
  revision: z.number().optional(),
  limit: z.number().optional(),
});
const operator = z.enum(['=', '!=', '<', '>']);
const compareSchema = z.union([
  z.object({
    key: z.string(),
    target: z.enum(['version', 'createRevision', 'modRevision']),
    is: operator,
    than: z.number(),
  }),
  z.object({ key: z.string(), target: z.literal('value'), is: operator, than: z.string() }),
  z.object({ key: z.string(), target: z.literal('lease'), is: z.enum(['=', '!=']), than: z.string() }),
]);
const opSchema = z.union([
  z.object({ op: z.literal('put'), key: z.string(), value: z.string(), leaseId: z.string().optional() }),
  z.object({
    op: z.literal('delete'),
    key: z.string(),
    end: z.string().optional(),
    prefix: z.boolean().optional(),
  }),
  z.object({ op: z.literal('range'), query: rangeSchema }),
]);
const txnSchema = z.object({
  compare: z.array(compareSchema),
  success: z.array(opSchema),
  failure: z.array(opSchema).optional(),
  requestId: z.string().optional(),
});
const switchoverSchema = z.object({ to: z.string() });
const objectSchema = z.object({
  bucket: z.string(),
  key: z.string(),
  offset: z.number().int().nonnegative(),
});

// zod says `undefined` for what is absent, the contract's types say absent: JSON has no undefined, so the two are one.
function parseTxn(message: unknown): Txn {
  return txnSchema.parse(message) as Txn;
}

function parseRange(message: unknown): RangeQuery {
  return rangeSchema.parse(message) as RangeQuery;
}

/** The handler of a centre's endpoint. */
export function serveCenter(
  center: DisasterRecovery,
  protocol: CenterProtocol,
  objects: ObjectReplication | undefined,
): CallHandler {
  const handlers: Readonly<Record<string, (message: unknown) => Promise<unknown>>> = {
    heartbeat: (message) => protocol.onHeartbeat(heartbeatSchema.parse(message)),
    vote: (message) => protocol.onVote(voteSchema.parse(message)),
    release: async (message) => {
      const { from, generation } = handOverSchema.parse(message);
      await protocol.onRelease(from, generation);
    },
    'take-over': async (message) => {
      const { from, generation } = handOverSchema.parse(message);
      await center.takeOver(from, generation);
    },
    replicate: (message) => protocol.onReplicate(replicateSchema.parse(message)),
    rebuild: (message) => protocol.onRebuild(rebuildSchema.parse(message)),
    object: async (message) => {
      const { bucket, key, offset } = objectSchema.parse(message);
      if (objects === undefined) throw new HeptadError('NOT_SUPPORTED', `${center.self} holds no objects`);
      return objects.give({ bucket, key }, offset);
    },
    txn: (message) => center.state.txn(parseTxn(message)),
    range: (message) => center.state.range(parseRange(message)),
    switchover: async (message) => center.switchover(switchoverSchema.parse(message).to),
    status: async () => center.status(),
    explain: async () => center.explain(),
    events: async () => center.events,
  };
  return async (method, message) => {
    const handler = Object.hasOwn(handlers, method) ? handlers[method] : undefined;
    if (handler === undefined) throw new HeptadError('NOT_FOUND', `a centre does not serve "${method}"`);
    return handler(message);
  };
}
