// Anti-entropy: goes through all partitions, brings the copies in line, and removes deletions that everybody knows of.

import type { Clock } from '@heptad/core';
import { quorumError } from '../errors.ts';
import { TOMBSTONE_GRACE_MS } from '../limits.ts';
import { tagTimeMs } from '../model/tag.ts';
import { PARTITION_COUNT } from '../placement/assign.ts';
import { type Layout, quorumSets } from '../placement/layout.ts';
import type { BackgroundWork } from './gather.ts';
import type { HttpReplicas } from './http-replica.ts';
import type { LayoutClient } from './layout-client.ts';
import { type Holdings, syncPartition } from './partition-sync.ts';
import type { QuorumRegister } from './register.ts';

/** How to repair. */
export interface RepairOptions {
  /** Have every node read and verify everything it holds first. Default false: only known damage is repaired. */
  readonly verify?: boolean;
  readonly onProgress?: (progress: RepairProgress) => void;
  readonly signal?: AbortSignal;
}

/** How far a repair is. */
export interface RepairProgress {
  readonly phase: 'verifying' | 'comparing' | 'done';
  readonly partitionsDone: number;
  readonly partitionsTotal: number;
  readonly copiesWritten: number;
  readonly message: string;
}

/** What a repair did. */
export interface RepairReport {
  /** Objects looked at, tombstones too. */
  readonly objects: number;
  readonly copiesWritten: number;
  readonly bytesWritten: number;
  readonly tombstonesRemoved: number;
  /** What could not be repaired, one sentence each. Empty: every copy of every reachable node is in line. */
  readonly problems: readonly string[];
}

/** What a repair works with. */
export interface RepairContext {
  readonly layouts: LayoutClient;
  readonly replicas: HttpReplicas;
  readonly register: QuorumRegister;
  readonly clock: Clock;
  readonly background: BackgroundWork;
}

/** A node reads at least 20 MiB/s; this is 1 TiB at that speed. */
const VERIFY_TIMEOUT_MS = 15 * 60 * 60 * 1000;

/** See the head of this file. Under a stable layout only; the caller ends a move first. */
export async function repairCluster(context: RepairContext, options: RepairOptions): Promise<RepairReport> {
  const layout = await context.layouts.get();
  const totals = { objects: 0, copiesWritten: 0, bytesWritten: 0, tombstonesRemoved: 0 };
  const problems: string[] = [];
  const report = (phase: RepairProgress['phase'], partitionsDone: number, message: string): void =>
    options.onProgress?.({
      phase,
      partitionsDone,
      partitionsTotal: PARTITION_COUNT,
      copiesWritten: totals.copiesWritten,
      message,
    });
  if (options.verify === true) {
    report('verifying', 0, 'the nodes verify everything they hold');
    problems.push(...(await verifyAll(context, layout)));
  }
  for (let partition = 0; partition < PARTITION_COUNT; partition += 1) {
    options.signal?.throwIfAborted();
    const result = await syncOne(context, layout, partition, options.signal);
    totals.objects += result.objects;
    totals.copiesWritten += result.copied;
    totals.bytesWritten += result.copiedBytes;
    problems.push(...result.problems);
    totals.tombstonesRemoved += await removeTombstones(context, layout, partition, result.holdings);
    report('comparing', partition + 1, `compared partition ${partition + 1} of ${PARTITION_COUNT}`);
  }
  report('done', PARTITION_COUNT, `wrote ${totals.copiesWritten} copies`);
  return { ...totals, problems };
}

async function verifyAll(context: RepairContext, layout: Layout): Promise<string[]> {
  const problems: string[] = [];
  await Promise.all(
    layout.nodes.map(async ({ id }) => {
      try {
        await context.replicas.scrub(context.layouts.addressOf(id), VERIFY_TIMEOUT_MS);
      } catch (error) {
        problems.push(
          `node "${id}" could not be verified: ${error instanceof Error ? error.message : error}`,
        );
      }
    }),
  );
  return problems;
}

async function syncOne(
  context: RepairContext,
  layout: Layout,
  partition: number,
  signal: AbortSignal | undefined,
) {
  const sets = quorumSets(layout, partition);
  return await syncPartition(context, layout, partition, {
    signal,
    refuse: (answered, failed) => {
      const lacking = sets.find(
        ({ nodes, quorum }) => nodes.filter((id) => answered.includes(id)).length < quorum,
      );
      if (lacking === undefined) return undefined;
      return quorumError({
        code: 'READ_FAILED',
        doing: `repair partition ${partition}`,
        needed: lacking.quorum,
        asked: lacking.nodes.length,
        succeeded: answered,
        failed,
        outcome: 'failed',
      });
    },
  });
}

// A tombstone may go when every replica has it: then nobody can bring the object back. The age on top covers writes of
// older versions that are still under way.
async function removeTombstones(
  context: RepairContext,
  layout: Layout,
  partition: number,
  holdings: ReadonlyMap<string, Holdings>,
): Promise<number> {
  const members = layout.current[partition] ?? [];
  const first = holdings.get(members[0] ?? '');
  if (first === undefined || layout.next !== undefined) return 0;
  let removed = 0;
  for (const { id, tag, header } of first.values()) {
    if (header?.deleted !== true || context.clock.now() - tagTimeMs(tag) < TOMBSTONE_GRACE_MS) continue;
    if (!members.every((node) => holdings.get(node)?.get(id)?.tag === tag)) continue;
    await Promise.all(members.map((node) => context.replicas.drop(node, layout.version, id, tag)));
    removed += 1;
  }
  return removed;
}
