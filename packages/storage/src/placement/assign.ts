// Placement: which nodes hold which of the 256 partitions, by rendezvous hashing weighted by capacity.
//
// Source: Thaler and Ravishankar 1998 (highest random weight); the weighted form by Schindler, -w / ln(h).

import { createHash } from 'node:crypto';
import { StorageError } from '../errors.ts';
import { MAX_NODES, MAX_REPLICATION_FACTOR } from '../limits.ts';

/** Data moves by partition, never by key. 256 as in Garage: fine enough for balance, small enough to list. */
export const PARTITION_COUNT = 256;

/** What placement needs to know of a node. */
export interface PlacementNode {
  readonly id: string;
  /** Failure domain; a node without one is its own. */
  readonly zone?: string;
  /** Its share of the data grows with it. */
  readonly capacityBytes: number;
}

/** For each partition the ids of its nodes, best first. */
export type Assignment = readonly (readonly string[])[];

/** The partition of an object: the first byte of its id, which is a SHA-256. */
export function partitionOf(objectId: string): number {
  return Number.parseInt(objectId.slice(0, 2), 16);
}

/**
 * Assigns every partition to `replicationFactor` nodes: as many distinct zones as there are first, then the highest
 * scores. Deterministic, independent of the order of `nodes`, and stable: a node that comes or goes changes at most
 * one member of a partition.
 *
 * @throws StorageError `INVALID_ARGUMENT` when there are fewer nodes than replicas, or an id appears twice.
 */
export function assignPartitions(nodes: readonly PlacementNode[], replicationFactor: number): Assignment {
  checkNodes(nodes, replicationFactor);
  return Array.from({ length: PARTITION_COUNT }, (_, partition) => {
    const ranked = nodes
      .map((node) => ({ node, score: score(node, partition) }))
      .sort((a, b) => b.score - a.score || (a.node.id < b.node.id ? -1 : 1))
      .map(({ node }) => node);
    return pickAcrossZones(ranked, replicationFactor);
  });
}

function pickAcrossZones(ranked: readonly PlacementNode[], count: number): string[] {
  const zones = new Set<string>();
  const chosen: string[] = [];
  for (const node of ranked) {
    const zone = node.zone === undefined ? `node:${node.id}` : `zone:${node.zone}`;
    if (chosen.length === count || zones.has(zone)) continue;
    zones.add(zone);
    chosen.push(node.id);
  }
  for (const node of ranked) {
    if (chosen.length < count && !chosen.includes(node.id)) chosen.push(node.id);
  }
  return chosen;
}

function score(node: PlacementNode, partition: number): number {
  const digest = createHash('sha256').update(`${node.id}\0${partition}`).digest();
  // 48 bits fit a double exactly; the half keeps the logarithm away from 0 and 1.
  const uniform = (digest.readUIntBE(0, 6) + 0.5) / 2 ** 48;
  return -node.capacityBytes / Math.log(uniform);
}

function checkNodes(nodes: readonly PlacementNode[], replicationFactor: number): void {
  const wrong = (why: string, hint: string): StorageError =>
    new StorageError('INVALID_ARGUMENT', `cannot place data: ${why}`, { hint });
  if (!Number.isInteger(replicationFactor) || replicationFactor < 1) {
    throw wrong(`replication factor ${replicationFactor} is no whole number of at least 1`, 'use 3');
  }
  if (replicationFactor > MAX_REPLICATION_FACTOR) {
    throw wrong(`replication factor ${replicationFactor} is above ${MAX_REPLICATION_FACTOR}`, 'use 3 or 5');
  }
  if (nodes.length < replicationFactor) {
    throw wrong(
      `${nodes.length} storage nodes cannot hold ${replicationFactor} copies of each object`,
      `start ${replicationFactor - nodes.length} more storage nodes, or lower the replication factor`,
    );
  }
  if (nodes.length > MAX_NODES)
    throw wrong(`${nodes.length} nodes are more than ${MAX_NODES}`, 'use larger nodes');
  const seen = new Set<string>();
  for (const node of nodes) {
    if (seen.has(node.id)) throw wrong(`node id "${node.id}" appears twice`, 'give every node its own id');
    if (!(node.capacityBytes > 0)) throw wrong(`node "${node.id}" has no capacity`, 'set its capacityBytes');
    seen.add(node.id);
  }
}
