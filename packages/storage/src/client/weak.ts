// The weaker consistency levels: one replica is enough, and the others follow.

import { isHeptadError } from '@heptad/core';
import { quorumError, type ReplicaAnswer, replicaAnswer } from '../errors.ts';
import { laterTag, type Tag, type TagSource, ZERO_TAG } from '../model/tag.ts';
import type { VersionHeader } from '../model/version.ts';
import type { BackgroundWork } from './gather.ts';
import type { Draft, QuorumRegister } from './register.ts';
import type { ReplicaAccess, Route, Version } from './replica.ts';

/** What the weak operations work with. */
export interface WeakContext {
  readonly register: QuorumRegister;
  readonly replicas: ReplicaAccess;
  readonly tags: TagSource;
  readonly background: BackgroundWork;
}

/** Times a write is tagged anew because a replica has a later version already. */
const MAX_RETAGS = 3;

/** Writes at the first replica that takes it and sends it on to the others. */
export async function writeAnywhere(
  context: WeakContext,
  route: Route,
  draft: Draft,
  order: readonly string[],
  signal?: AbortSignal,
): Promise<VersionHeader> {
  let seen: Tag = ZERO_TAG;
  let version = tagged(context, draft, seen);
  const failed: ReplicaAnswer[] = [];
  for (const node of order) {
    try {
      for (let attempt = 0; attempt <= MAX_RETAGS; attempt += 1) {
        signal?.throwIfAborted();
        const kept = await context.replicas.write(node, route, version);
        if (kept === version.header.tag) {
          spread(
            context,
            route,
            version,
            order.filter((other) => other !== node),
          );
          return version.header;
        }
        // Our clock runs behind the last writer's: without a later tag this write would be lost in silence.
        seen = laterTag(seen, kept);
        version = tagged(context, draft, seen);
      }
    } catch (error) {
      if (isHeptadError(error, 'STALE_LAYOUT')) throw error;
      failed.push(replicaAnswer(node, context.replicas.address(node), error));
    }
  }
  signal?.throwIfAborted();
  const doing = `store ${draft.header.bucket}/${draft.header.key}`;
  const common = { code: 'WRITE_FAILED' as const, doing, needed: 1, asked: order.length, succeeded: [] };
  throw quorumError({ ...common, failed, outcome: 'unknown' });
}

/**
 * The first replica's version that is not older than `atLeast`. `undefined` when no replica alone could answer: ask a
 * quorum then. Without `atLeast` the first answer counts, whatever it is.
 */
export async function readAnywhere(
  context: WeakContext,
  route: Route,
  order: readonly string[],
  atLeast: Tag | undefined,
  signal?: AbortSignal,
): Promise<{ version: Version | undefined } | undefined> {
  const failed: ReplicaAnswer[] = [];
  for (const node of order) {
    signal?.throwIfAborted();
    try {
      const version = await context.register.readOne(route, node);
      if (atLeast === undefined || (version?.header.tag ?? ZERO_TAG) >= atLeast) return { version };
    } catch (error) {
      if (isHeptadError(error, 'STALE_LAYOUT')) throw error;
      failed.push(replicaAnswer(node, context.replicas.address(node), error));
    }
  }
  // Nodes answered, but with something too old or damaged: the quorum protocol knows what to do.
  if (failed.length < order.length || failed.some(({ code }) => code === 'DATA_CORRUPT')) return undefined;
  const common = { code: 'READ_FAILED' as const, doing: `read ${route.id}`, needed: 1, asked: order.length };
  throw quorumError({ ...common, succeeded: [], failed, outcome: 'failed' });
}

function tagged(context: WeakContext, draft: Draft, seen: Tag): Version {
  return { header: { ...draft.header, tag: context.tags.next(seen) }, body: draft.body };
}

function spread(context: WeakContext, route: Route, version: Version, others: readonly string[]): void {
  for (const node of others) context.background.add(context.replicas.write(node, route, version));
}
