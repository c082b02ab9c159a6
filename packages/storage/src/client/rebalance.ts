// Changing the members of the cluster while it serves.
//
// placement/layout.ts says why operations under neighbouring layout versions agree. What is left to do here, before
// the version after the moving one is proposed, is to make sure that
//
//   1. no write under the version before the move (v) can still be acknowledged: in every partition so many of its old
//      nodes go by v+1 that the rest is no quorum. They refuse v.
//   2. everything acknowledged under v is on a quorum of the new nodes: every partition is listed at those fenced
//      nodes, which saw each such write before they were fenced, and what the new nodes lack is copied.
//
// Nodes refuse requests under another version than theirs, so an answer to a listing under v+1 proves both. A crash in
// between leaves the cluster serving under v+1; the next change, or `repair()`, goes on from there.

import { invalidArgument } from '@heptad/core';
import { quorumError, type ReplicaAnswer, StorageError } from '../errors.ts';
import { PARTITION_COUNT } from '../placement/assign.ts';
import {
  type Layout,
  type LayoutNode,
  movingLayout,
  type QuorumSet,
  quorumSets,
  settledLayout,
} from '../placement/layout.ts';
import type { BackgroundWork } from './gather.ts';
import type { HttpReplicas } from './http-replica.ts';
import type { LayoutClient } from './layout-client.ts';
import { syncPartition } from './partition-sync.ts';
import type { QuorumRegister } from './register.ts';

/** A node to take in. */
export interface AddedNode {
  readonly id: string;
  /** `host:port`. */
  readonly address: string;
  readonly zone?: string;
  /** Default: what the node says. */
  readonly capacityBytes?: number;
}

/** How far a move is. */
export interface MoveProgress {
  readonly phase: 'fencing' | 'moving' | 'settling' | 'done';
  readonly partitionsDone: number;
  readonly partitionsTotal: number;
  readonly objectsCopied: number;
  readonly bytesCopied: number;
  /** A sentence for people. */
  readonly message: string;
}

/** Options of long operations. */
export interface ProgressOptions {
  readonly onProgress?: (progress: MoveProgress) => void;
  /** Stops the move; `repair()` or the next change goes on from there. */
  readonly signal?: AbortSignal;
}

/** What a {@link Rebalancer} works with. */
export interface RebalancerOptions {
  readonly layouts: LayoutClient;
  readonly replicas: HttpReplicas;
  readonly register: QuorumRegister;
  readonly background: BackgroundWork;
}

/** Part of a node's capacity that a removal may fill on the others; the rest is for new writes meanwhile. */
const MAX_FILL = 0.95;

/** See the head of this file. */
export class Rebalancer {
  readonly #options: RebalancerOptions;

  constructor(options: RebalancerOptions) {
    this.#options = options;
  }

  async addNode(node: AddedNode, options: ProgressOptions): Promise<Layout> {
    const { replicas } = this.#options;
    const layout = await this.finish(options);
    if (layout.nodes.some((member) => member.id === node.id)) {
      throw new StorageError(
        'NODE_EXISTS',
        `cannot add node "${node.id}": the cluster has a node of this name`,
        {
          hint: 'give the new node its own id',
        },
      );
    }
    const status = await replicas.status(node.address);
    if (status.id !== node.id) {
      throw invalidArgument(`cannot add node "${node.id}": ${node.address} is node "${status.id}"`);
    }
    const zone = node.zone ?? status.zone;
    const member: LayoutNode = {
      id: node.id,
      address: node.address,
      capacityBytes: node.capacityBytes ?? status.capacityBytes,
      ...(zone === undefined ? {} : { zone }),
    };
    return await this.#moveTo(layout, [...layout.nodes, member], options);
  }

  async removeNode(id: string, options: ProgressOptions): Promise<Layout> {
    const layout = await this.finish(options);
    const members = layout.nodes.filter((node) => node.id !== id);
    if (members.length === layout.nodes.length) {
      throw new StorageError('NODE_NOT_FOUND', `cannot remove node "${id}": the cluster has no such node`, {
        hint: `it has ${layout.nodes.map((node) => node.id).join(', ')}`,
      });
    }
    if (members.length < layout.replicationFactor) {
      throw new StorageError(
        'INVALID_ARGUMENT',
        `cannot remove node "${id}": ${members.length} nodes would be left for ${layout.replicationFactor} copies`,
        { hint: 'add another node first' },
      );
    }
    await this.#checkRoom(layout, movingLayout(layout, members), id);
    return await this.#moveTo(layout, members, options);
  }

  /** Ends a move that was begun and not finished, by us or by somebody else. */
  async finish(options: ProgressOptions): Promise<Layout> {
    const layout = await this.#options.layouts.refresh();
    return layout.next === undefined ? layout : await this.#carryOut(layout, options);
  }

  async #moveTo(layout: Layout, members: readonly LayoutNode[], options: ProgressOptions): Promise<Layout> {
    report(options, 'fencing', 0, 0, 0, 'telling the nodes about the new layout');
    return await this.#carryOut(await this.#options.layouts.change(movingLayout(layout, members)), options);
  }

  async #carryOut(moving: Layout, options: ProgressOptions): Promise<Layout> {
    const { layouts } = this.#options;
    const total = PARTITION_COUNT;
    let objects = 0;
    let bytes = 0;
    // Who has not heard of the move yet hears it now; listings below prove who has.
    await layouts.spread(
      moving,
      moving.nodes.map((node) => node.id),
    );
    for (let partition = 0; partition < total; partition += 1) {
      options.signal?.throwIfAborted();
      const sets = quorumSets(moving, partition);
      const result = await syncPartition(this.#options, moving, partition, {
        signal: options.signal,
        refuse: (answered, failed) => refuseSync(sets, answered, failed),
      });
      this.#checkCopied(partition, result.problems);
      objects += result.copied;
      bytes += result.copiedBytes;
      report(
        options,
        'moving',
        partition + 1,
        objects,
        bytes,
        `moved partition ${partition + 1} of ${total}`,
      );
    }
    report(options, 'settling', total, objects, bytes, 'switching to the new layout');
    const settled = await layouts.change(settledLayout(moving));
    report(options, 'done', total, objects, bytes, `the cluster has ${settled.nodes.length} nodes`);
    return settled;
  }

  #checkCopied(partition: number, problems: readonly string[]): void {
    if (problems.length === 0) return;
    throw new StorageError(
      'WRITE_FAILED',
      `cannot move partition ${partition}: ${problems.length} objects could not be copied: ${problems[0]}`,
      {
        hint: 'the cluster serves as before; see "heptad storage status", then run "heptad storage repair"',
        retryable: true,
        details: { problems },
      },
    );
  }

  // What each remaining node would hold: its present bytes and those of the partitions it would gain.
  async #checkRoom(layout: Layout, moving: Layout, leaving: string): Promise<void> {
    const { replicas, layouts } = this.#options;
    const statuses = await Promise.all(
      layout.nodes.map(async ({ id }) => await replicas.status(layouts.addressOf(id)).catch(() => undefined)),
    );
    const bytesOf = (partition: number): number =>
      Math.max(0, ...statuses.map((status) => status?.partitions[partition]?.bytes ?? 0));
    const full = statuses.flatMap((status) => {
      if (status === undefined || status.id === leaving) return [];
      let gained = 0;
      for (let partition = 0; partition < PARTITION_COUNT; partition += 1) {
        const had = layout.current[partition]?.includes(status.id) === true;
        if (!had && moving.next?.[partition]?.includes(status.id) === true) gained += bytesOf(partition);
      }
      const after = status.usedBytes + gained;
      return after > status.capacityBytes * MAX_FILL
        ? [`${status.id} would hold ${after} of ${status.capacityBytes} bytes`]
        : [];
    });
    if (full.length === 0) return;
    throw new StorageError(
      'INSUFFICIENT_SPACE',
      `cannot remove node "${leaving}": the others have no room for its data: ${full.join('; ')}`,
      { hint: 'add a node, raise capacityBytes, or delete objects first', details: { nodes: full } },
    );
  }
}

/** Why a partition must not be taken for synced; see the head of this file. */
function refuseSync(
  sets: readonly QuorumSet[],
  answered: readonly string[],
  failed: readonly ReplicaAnswer[],
): Error | undefined {
  const lacking = sets.find((set) => set.nodes.filter((node) => answered.includes(node)).length < set.quorum);
  if (lacking === undefined) return undefined;
  return quorumError({
    code: 'READ_FAILED',
    doing: 'move data to the new layout',
    needed: lacking.quorum,
    asked: lacking.nodes.length,
    succeeded: answered,
    failed,
    outcome: 'failed',
  });
}

function report(
  options: ProgressOptions,
  phase: MoveProgress['phase'],
  partitionsDone: number,
  objectsCopied: number,
  bytesCopied: number,
  message: string,
): void {
  const partitionsTotal = PARTITION_COUNT;
  options.onProgress?.({ phase, partitionsDone, partitionsTotal, objectsCopied, bytesCopied, message });
}
