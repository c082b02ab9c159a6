// The state of the cluster in one answer: which nodes are up, how full they are, which data has too few copies.

import { errorMessage } from '@heptad/core';
import { PARTITION_COUNT } from '../placement/assign.ts';
import { type Layout, partitionNodes, quorumSets } from '../placement/layout.ts';
import type { NodeStatus } from '../wire/protocol.ts';
import type { HttpReplicas } from './http-replica.ts';
import type { LayoutClient } from './layout-client.ts';

/** One node of the cluster. */
export interface ClusterNodeStatus {
  readonly id: string;
  readonly address: string;
  readonly zone?: string;
  readonly up: boolean;
  /** Why it is taken for down. */
  readonly reason?: string;
  /** Bytes of files on it; 0 when it is down. */
  readonly usedBytes: number;
  readonly capacityBytes: number;
  /** Objects on it, without tombstones. */
  readonly objects: number;
  /** Copies that failed their SHA-256 and wait for repair. */
  readonly corruptObjects: number;
  /** Partitions it holds, or is to hold. */
  readonly partitions: number;
  readonly layoutVersion: number;
}

/** What {@link readClusterStatus} answers. */
export interface ClusterStatus {
  /** `healthy`: every copy is there. `degraded`: everything can be read and written, with fewer copies than wanted.
   * `unavailable`: some partitions have no quorum. */
  readonly health: 'healthy' | 'degraded' | 'unavailable';
  readonly layoutVersion: number;
  readonly replicationFactor: number;
  /** Whether data is moving because of a change of members. */
  readonly moving: boolean;
  readonly nodes: readonly ClusterNodeStatus[];
  readonly nodesUp: number;
  readonly usedBytes: number;
  readonly capacityBytes: number;
  /** Distinct objects, estimated from the fullest copy of each partition. */
  readonly objects: number;
  /** Bytes of distinct objects with their headers, estimated likewise. */
  readonly bytes: number;
  /** Partitions with fewer living copies than the replication factor, or whose copies differ. */
  readonly partitionsUnderReplicated: number;
  /** Partitions without a quorum: their objects can be neither read nor written. */
  readonly partitionsUnavailable: number;
}

/** Asks every node of the layout. */
export async function readClusterStatus(
  layout: Layout,
  layouts: LayoutClient,
  replicas: HttpReplicas,
): Promise<ClusterStatus> {
  const statuses = new Map<string, NodeStatus>();
  const reasons = new Map<string, string>();
  await Promise.all(
    layout.nodes.map(async ({ id }) => {
      try {
        statuses.set(id, await replicas.status(layouts.addressOf(id)));
      } catch (error) {
        reasons.set(id, errorMessage(error));
      }
    }),
  );
  return summarise(layout, statuses, reasons, (id) => layouts.addressOf(id));
}

/** The pure part: the answers of the nodes, joined. */
export function summarise(
  layout: Layout,
  statuses: ReadonlyMap<string, NodeStatus>,
  reasons: ReadonlyMap<string, string>,
  addressOf: (id: string) => string,
): ClusterStatus {
  const nodes = layout.nodes.map(({ id, zone, capacityBytes }): ClusterNodeStatus => {
    const status = statuses.get(id);
    const reason = reasons.get(id);
    return {
      id,
      address: addressOf(id),
      ...(zone === undefined ? {} : { zone }),
      up: status !== undefined,
      ...(reason === undefined ? {} : { reason }),
      usedBytes: status?.usedBytes ?? 0,
      capacityBytes: status?.capacityBytes ?? capacityBytes,
      objects: status?.objects ?? 0,
      corruptObjects: status?.corruptObjects ?? 0,
      partitions: countPartitions(layout, id),
      layoutVersion: status?.layoutVersion ?? 0,
    };
  });
  const copies = partitionTotals(layout, statuses);
  const health =
    copies.unavailable > 0
      ? 'unavailable'
      : copies.underReplicated > 0 || nodes.some((node) => node.corruptObjects > 0 || !node.up)
        ? 'degraded'
        : 'healthy';
  return {
    health,
    layoutVersion: layout.version,
    replicationFactor: layout.replicationFactor,
    moving: layout.next !== undefined,
    nodes,
    nodesUp: statuses.size,
    usedBytes: nodes.reduce((sum, node) => sum + node.usedBytes, 0),
    capacityBytes: nodes.reduce((sum, node) => sum + node.capacityBytes, 0),
    objects: copies.objects,
    bytes: copies.bytes,
    partitionsUnderReplicated: copies.underReplicated,
    partitionsUnavailable: copies.unavailable,
  };
}

function partitionTotals(layout: Layout, statuses: ReadonlyMap<string, NodeStatus>) {
  const totals = { objects: 0, bytes: 0, underReplicated: 0, unavailable: 0 };
  for (let partition = 0; partition < PARTITION_COUNT; partition += 1) {
    const members = partitionNodes(layout, partition);
    const living = members.flatMap((id) => statuses.get(id)?.partitions[partition] ?? []);
    totals.objects += Math.max(0, ...living.map((counts) => counts.objects));
    totals.bytes += Math.max(0, ...living.map((counts) => counts.bytes));
    const differ = new Set(living.map((counts) => counts.digest)).size > 1;
    if (living.length < members.length || differ) totals.underReplicated += 1;
    const lacks = quorumSets(layout, partition).some(
      (set) => set.nodes.filter((id) => statuses.has(id)).length < set.quorum,
    );
    if (lacks) totals.unavailable += 1;
  }
  return totals;
}

function countPartitions(layout: Layout, id: string): number {
  let count = 0;
  for (let partition = 0; partition < PARTITION_COUNT; partition += 1) {
    if (partitionNodes(layout, partition).includes(id)) count += 1;
  }
  return count;
}
