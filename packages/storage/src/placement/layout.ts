// The layout: which nodes the cluster has and which of them hold which partition, with a version that only rises.
//
// A change of members goes through two versions, as Raft's joint consensus does:
//
//   v    stable   writes and reads need a quorum of `current`
//   v+1  moving   writes and reads need a quorum of `current` AND a quorum of `next`
//   v+2  stable   writes and reads need a quorum of the former `next`
//
// Operations under v and v+1 meet in a quorum of the old nodes, those under v+1 and v+2 in a quorum of the new ones,
// so neighbouring versions may be in use at the same time. v and v+2 may not: before v+2 is proposed, every partition
// has so many old nodes that refuse v that no operation under v can finish any more (see client/rebalance.ts).

import { z } from 'zod';
import { MAX_NODES, MAX_REPLICATION_FACTOR } from '../limits.ts';
import { type Assignment, assignPartitions, PARTITION_COUNT, type PlacementNode } from './assign.ts';

/** A member of the cluster. */
export interface LayoutNode extends PlacementNode {
  /** `host:port`. */
  readonly address: string;
}

/** A version of the layout. */
export interface Layout {
  readonly version: number;
  readonly replicationFactor: number;
  /** All members; while moving, those that leave and those that join too. */
  readonly nodes: readonly LayoutNode[];
  /** For each partition its nodes, best first. */
  readonly current: Assignment;
  /**
   * For each partition and node of it the version since which the node has held it without a break. A node that finds
   * it was away when it came to hold a partition throws away what it has of it: that may be older than a deletion
   * everybody else has forgotten.
   */
  readonly since: readonly Readonly<Record<string, number>>[];
  /** Where the partitions are moving to. */
  readonly next?: Assignment;
  /** Members that leave once everything has moved. */
  readonly leaving?: readonly string[];
}

/** Replicas of which `quorum` must answer. */
export interface QuorumSet {
  readonly nodes: readonly string[];
  readonly quorum: number;
}

const nodeSchema = z.strictObject({
  id: z.string().min(1).max(63),
  address: z.string().min(1).max(300),
  zone: z.string().max(63).optional(),
  capacityBytes: z.number().int().positive(),
});
const assignmentSchema = z
  .array(z.array(z.string()).min(1).max(MAX_REPLICATION_FACTOR))
  .length(PARTITION_COUNT);
const sinceSchema = z.array(z.record(z.string(), z.number().int().positive())).length(PARTITION_COUNT);
const layoutSchema = z.strictObject({
  version: z.number().int().positive(),
  replicationFactor: z.number().int().min(1).max(MAX_REPLICATION_FACTOR),
  nodes: z.array(nodeSchema).min(1).max(MAX_NODES),
  current: assignmentSchema,
  since: sinceSchema,
  next: assignmentSchema.optional(),
  leaving: z.array(z.string()).max(MAX_NODES).optional(),
});

/** Parses a layout from a JSON value; throws a plain `Error` that says what is wrong. */
export function parseLayout(value: unknown): Layout {
  const { nodes, next, leaving, ...rest } = layoutSchema.parse(value);
  return {
    ...rest,
    nodes: nodes.map(({ zone, ...node }) => ({ ...node, ...(zone === undefined ? {} : { zone }) })),
    ...(next === undefined ? {} : { next }),
    ...(leaving === undefined ? {} : { leaving }),
  };
}

/** RF/2+1: any two quorums of the same replicas share one. */
export function quorumSize(replicationFactor: number): number {
  return Math.floor(replicationFactor / 2) + 1;
}

/** The first layout of a cluster. */
export function firstLayout(nodes: readonly LayoutNode[], replicationFactor: number): Layout {
  const current = assignPartitions(nodes, replicationFactor);
  return { version: 1, replicationFactor, nodes, current, since: sinceOf(current, 1) };
}

/** The version under which data moves from `layout` to `members`. */
export function movingLayout(layout: Layout, members: readonly LayoutNode[]): Layout {
  const leaving = layout.nodes.filter((node) => !members.some((member) => member.id === node.id));
  const version = layout.version + 1;
  const next = assignPartitions(members, layout.replicationFactor);
  const joined = sinceOf(next, version);
  return {
    version,
    replicationFactor: layout.replicationFactor,
    nodes: [...members, ...leaving],
    current: layout.current,
    since: layout.since.map((known, partition) => ({ ...joined[partition], ...known })),
    next,
    leaving: leaving.map((node) => node.id),
  };
}

/** The version after all data has moved. */
export function settledLayout(moving: Layout): Layout {
  const current = moving.next ?? moving.current;
  return {
    version: moving.version + 1,
    replicationFactor: moving.replicationFactor,
    nodes: moving.nodes.filter((node) => !(moving.leaving ?? []).includes(node.id)),
    current,
    since: moving.since.map((known, partition) =>
      Object.fromEntries((current[partition] ?? []).map((id) => [id, known[id] ?? moving.version])),
    ),
  };
}

/** Partitions a node holds under `layout` and has not held all the time since `known`, the last layout it knew. */
export function partitionsJoined(layout: Layout, known: Layout, nodeId: string): number[] {
  return layout.since.flatMap((since, partition) =>
    holdsPartition(layout, nodeId, partition) && (since[nodeId] ?? 0) > known.version ? [partition] : [],
  );
}

function sinceOf(assignment: Assignment, version: number): Readonly<Record<string, number>>[] {
  return assignment.map((nodes) => Object.fromEntries(nodes.map((id) => [id, version])));
}

/** The sets of replicas an operation on `partition` must have a quorum of. */
export function quorumSets(layout: Layout, partition: number): readonly QuorumSet[] {
  const current = layout.current[partition] ?? [];
  const next = layout.next?.[partition];
  const sets = [{ nodes: current, quorum: quorumSize(current.length) }];
  if (next !== undefined && !sameMembers(current, next)) {
    sets.push({ nodes: next, quorum: quorumSize(next.length) });
  }
  return sets;
}

/** All nodes that hold, or are to hold, a partition. */
export function partitionNodes(layout: Layout, partition: number): readonly string[] {
  return [...new Set(quorumSets(layout, partition).flatMap((set) => set.nodes))];
}

/** Whether a node must keep the objects of a partition under this layout. */
export function holdsPartition(layout: Layout, nodeId: string, partition: number): boolean {
  return partitionNodes(layout, partition).includes(nodeId);
}

/** Whether two layouts say the same. */
export function sameLayout(a: Layout, b: Layout): boolean {
  return JSON.stringify(parseLayout(a)) === JSON.stringify(parseLayout(b));
}

function sameMembers(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((id) => b.includes(id));
}
