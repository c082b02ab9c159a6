// Bringing the copies of one partition in line: compare what the nodes have, copy the latest version to those without.

import { errorMessage } from '@heptad/core';
import { type ReplicaAnswer, replicaAnswer } from '../errors.ts';
import { MAX_PAGE_ENTRIES, MOVE_CONCURRENCY } from '../limits.ts';
import type { Tag } from '../model/tag.ts';
import { type Layout, quorumSets } from '../placement/layout.ts';
import type { ObjectEntry } from '../wire/protocol.ts';
import type { HttpReplicas } from './http-replica.ts';
import type { QuorumRegister } from './register.ts';
import type { Route, Version } from './replica.ts';

/** What one node has of a partition, by object id. */
export type Holdings = ReadonlyMap<string, ObjectEntry>;

/** What a sync works with. */
export interface SyncContext {
  readonly replicas: HttpReplicas;
  readonly register: QuorumRegister;
}

/** What a sync of one partition did. */
export interface SyncResult {
  readonly objects: number;
  readonly copied: number;
  readonly copiedBytes: number;
  /** Copies that could not be made, one sentence each. */
  readonly problems: readonly string[];
  /** What each node that answered had, before the sync. */
  readonly holdings: ReadonlyMap<string, Holdings>;
}

/** Every entry of a partition on one node. */
export async function readHoldings(
  replicas: HttpReplicas,
  node: string,
  layoutVersion: number,
  partition: number,
): Promise<Holdings> {
  const holdings = new Map<string, ObjectEntry>();
  let after = '';
  for (;;) {
    const page = await replicas.partitionPage(node, layoutVersion, partition, after);
    for (const entry of page) holdings.set(entry.id, entry);
    if (page.length < MAX_PAGE_ENTRIES) return holdings;
    after = page.at(-1)?.id ?? '';
  }
}

/**
 * Lists a partition at all of its nodes and copies every object's latest version to each node that lacks it. The
 * answers of `needed` (see rebalance.ts for why) must be among the nodes' or it rejects through `refuse`.
 */
export async function syncPartition(
  context: SyncContext,
  layout: Layout,
  partition: number,
  options: {
    readonly refuse: (answered: readonly string[], failed: readonly ReplicaAnswer[]) => Error | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<SyncResult> {
  const sets = quorumSets(layout, partition);
  const nodes = [...new Set(sets.flatMap((set) => set.nodes))];
  const holdings = new Map<string, Holdings>();
  const failed: ReplicaAnswer[] = [];
  await Promise.all(
    nodes.map(async (node) => {
      try {
        holdings.set(node, await readHoldings(context.replicas, node, layout.version, partition));
      } catch (error) {
        failed.push(replicaAnswer(node, context.replicas.address(node), error));
      }
    }),
  );
  const refusal = options.refuse([...holdings.keys()], failed);
  if (refusal !== undefined) throw refusal;
  const wanted = behind(holdings);
  const totals = { copied: 0, copiedBytes: 0 };
  const problems: string[] = [];
  await eachOf(wanted, MOVE_CONCURRENCY, async (object) => {
    const { id } = object;
    options.signal?.throwIfAborted();
    const route: Route = { id, layoutVersion: layout.version, sets };
    try {
      const copied = await copyLatest(context, route, object);
      totals.copied += copied.nodes;
      totals.copiedBytes += copied.bytes;
    } catch (error) {
      problems.push(`${id}: ${errorMessage(error)}`);
    }
  });
  const objects = new Set([...holdings.values()].flatMap((held) => [...held.keys()])).size;
  return { objects, ...totals, problems, holdings };
}

// The latest version may be on one node only (a write that was cut short, or an eventual one), where a quorum read need
// not find it: the nodes that listed it are asked first.
async function copyLatest(
  context: SyncContext,
  route: Route,
  { holders, lacking }: Behind,
): Promise<{ nodes: number; bytes: number }> {
  const version = (await fromHolder(context, route, holders)) ?? (await context.register.read(route));
  if (version === undefined) return { nodes: 0, bytes: 0 };
  await Promise.all(lacking.map((node) => context.replicas.write(node, route, version)));
  return { nodes: lacking.length, bytes: lacking.length * version.body.length };
}

async function fromHolder(
  context: SyncContext,
  route: Route,
  holders: readonly string[],
): Promise<Version | undefined> {
  for (const node of holders) {
    // A holder that has died or is damaged since: the next one, or a quorum, knows.
    const version = await context.register.readOne(route, node).catch(() => undefined);
    if (version !== undefined) return version;
  }
  return undefined;
}

interface Behind {
  readonly id: string;
  /** Nodes that have the latest version, undamaged as far as they know. */
  readonly holders: readonly string[];
  readonly lacking: readonly string[];
}

/** Objects that some node lacks, has in an older version, or has damaged. */
function behind(holdings: ReadonlyMap<string, Holdings>): Behind[] {
  const latest = new Map<string, Tag>();
  for (const held of holdings.values()) {
    for (const { id, tag } of held.values()) {
      if ((latest.get(id) ?? '') < tag) latest.set(id, tag);
    }
  }
  const found: Behind[] = [];
  for (const [id, tag] of latest) {
    const has = ([, held]: readonly [string, Holdings]): boolean =>
      held.get(id)?.tag === tag && held.get(id)?.corrupt === false;
    const holders = [...holdings].filter(has).map(([node]) => node);
    const lacking = [...holdings].filter((entry) => !has(entry)).map(([node]) => node);
    if (lacking.length > 0) found.push({ id, holders, lacking });
  }
  return found;
}

/** Runs `work` over `items`, at most `concurrency` at a time; rejects with the first failure. */
export async function eachOf<T>(
  items: readonly T[],
  concurrency: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
}
