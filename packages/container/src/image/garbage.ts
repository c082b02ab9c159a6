// Mark and sweep over the image store: what a name, a container, a lease or a label leads to stays, the rest goes.

import { isHeptadError } from '@heptad/core';
import { deleteAbandonedTemporaries } from '../system/files.ts';
import type { BlobInfo } from './content-writer.ts';
import { chainIds, type Digest } from './digest.ts';
import { GC_FLAT, meaningOf, type Node } from './garbage-labels.ts';
import type { ImageStore } from './image-store.ts';
import type { LeaseInfo } from './leases.ts';
import { MAX_MANIFEST_BYTES, parseImageConfig, parseIndex, parseManifest } from './manifest.ts';
import { MAX_DEPTH, type Snapshot } from './snapshot-info.ts';

/** Options of {@link ImageStore.gc}. */
export interface GarbageOptions {
  /** Digests of manifests that containers use. */
  readonly inUse?: readonly Digest[];
  /** Ids of containers, for things labelled `containerd.io/gc.bref.container`. */
  readonly containers?: readonly string[];
  /**
   * What is younger stays, whoever refers to it. Default one hour: writers that hold no lease are safe that long.
   * With 0, only leases protect what is not named yet.
   */
  readonly minimumAgeMs?: number;
}

/** What {@link ImageStore.gc} deleted. */
export interface GarbageReport {
  readonly blobs: number;
  readonly snapshots: number;
  readonly unfinished: number;
  /** Bytes of the deleted blobs and snapshots. */
  readonly freedBytes: number;
}

const DEFAULT_MINIMUM_AGE_MS = 60 * 60 * 1000;

/** The store as one collection sees it. */
interface Graph {
  readonly blobs: ReadonlyMap<Digest, BlobInfo>;
  readonly snapshots: ReadonlyMap<string, Snapshot>;
  /** What a thing's labels and those of others say it keeps. */
  readonly edges: Map<Node, Node[]>;
  readonly roots: Node[];
  /** Layers of manifests: not read for what they refer to. */
  readonly layers: Set<Node>;
}

/** See {@link ImageStore.gc}. */
export async function collectGarbage(store: ImageStore, options: GarbageOptions): Promise<GarbageReport> {
  const before = store.clock.now() - (options.minimumAgeMs ?? DEFAULT_MINIMUM_AGE_MS);
  // Under the guard nobody names content, begins a lease or adds to one: what is not marked now is wanted by nobody.
  const swept = await store.content.guard.run(async () => {
    const leases = await store.leases.deleteExpired();
    const graph = await survey(store);
    const marked = await mark(store, graph, leases, options);
    const blobs = await sweepBlobs(store, graph, marked, before);
    // After the blobs, so that a crash in between leaves an entry without content, which the next run removes.
    for (const subject of await store.referrerIndex.subjects())
      if ((await store.content.info(subject)) === undefined) await store.referrerIndex.forget(subject);
    const snapshots = await sweepSnapshots(store, graph, marked, before);
    return { leases, blobs, snapshots };
  });
  const leasedRefs = new Set(
    swept.leases.flatMap(({ resources }) =>
      resources.filter(({ kind }) => kind === 'ingest').map(({ id }) => id),
    ),
  );
  const unfinished =
    (await deleteAbandonedTemporaries(store.tagDirectory)) +
    (await deleteAbandonedTemporaries(store.content.labels.directory)) +
    (await deleteAbandonedTemporaries(store.leases.directory)) +
    (await store.content.deleteStaleIngests(before, (ref) => leasedRefs.has(ref))) +
    (await store.snapshots.cleanup());
  return {
    blobs: swept.blobs.count,
    snapshots: swept.snapshots.count,
    unfinished,
    freedBytes: swept.blobs.bytes + swept.snapshots.bytes,
  };
}

async function survey(store: ImageStore): Promise<Graph> {
  const blobs = new Map<Digest, BlobInfo>();
  for await (const blob of store.content.list()) blobs.set(blob.digest, blob);
  const snapshots = new Map<string, Snapshot>();
  for await (const snapshot of store.snapshots.walk()) snapshots.set(snapshot.name, snapshot);
  const graph: Graph = { blobs, snapshots, edges: new Map(), roots: [], layers: new Set() };
  const now = store.clock.now();
  for (const { digest, labels } of blobs.values()) enter(graph, `content ${digest}`, labels, now);
  for (const { name, labels, parent } of snapshots.values()) {
    const node: Node = `snapshot ${name}`;
    enter(graph, node, labels, now);
    if (parent !== undefined) connect(graph, node, `snapshot ${parent}`);
  }
  // What is attached to something lives as long as that does.
  for (const subject of await store.referrerIndex.subjects())
    for (const { descriptor } of await store.referrers(subject))
      connect(graph, `content ${subject}`, `content ${descriptor.digest}`);
  // A commit writes labels before its blob appears, both under the guard: these belong to one that was interrupted.
  for (const digest of await store.content.labels.digests())
    if (!blobs.has(digest)) await store.content.labels.delete(digest);
  return graph;
}

function enter(graph: Graph, node: Node, labels: Readonly<Record<string, string>>, now: number): void {
  const { isRoot, references, keptBy } = meaningOf(labels, now);
  if (isRoot) graph.roots.push(node);
  for (const reference of references) connect(graph, node, reference);
  for (const keeper of keptBy) connect(graph, keeper, node);
}

function connect(graph: Graph, from: Node, to: Node): void {
  const known = graph.edges.get(from);
  if (known === undefined) graph.edges.set(from, [to]);
  else known.push(to);
}

async function mark(
  store: ImageStore,
  graph: Graph,
  leases: readonly LeaseInfo[],
  options: GarbageOptions,
): Promise<ReadonlySet<Node>> {
  const pending: Node[] = [
    ...graph.roots,
    ...(options.inUse ?? []).map((digest): Node => `content ${digest}`),
    ...(options.containers ?? []).map((id): Node => `container ${id}`),
  ];
  for (const { name, target } of await store.allTags())
    pending.push(`image ${name}`, `content ${target.digest}`);
  const flat: Node[] = [];
  for (const { labels, resources } of leases) {
    const list = labels[GC_FLAT] === undefined ? pending : flat;
    for (const { kind, id } of resources) if (kind !== 'ingest') list.push(`${kind} ${id}`);
  }
  const marked = new Set<Node>();
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (marked.has(node)) continue;
    marked.add(node);
    pending.push(...(graph.edges.get(node) ?? []), ...(await contained(store, graph, node)));
  }
  for (const node of flat) marked.add(node);
  return marked;
}

/** What a manifest, an index or a config refers to by its text. */
async function contained(store: ImageStore, graph: Graph, node: Node): Promise<Node[]> {
  const digest = node.startsWith('content ') ? node.slice('content '.length) : undefined;
  const blob = digest === undefined ? undefined : graph.blobs.get(digest);
  if (blob === undefined || blob.size > MAX_MANIFEST_BYTES || graph.layers.has(node)) return [];
  const bytes = await store.content.readBytes(blob.digest, MAX_MANIFEST_BYTES).catch((error: unknown) => {
    // A damaged blob refers to nothing any more; check() names it.
    if (isHeptadError(error, 'STORE_CORRUPT')) return undefined;
    throw error;
  });
  if (bytes === undefined || bytes[0] !== '{'.charCodeAt(0)) return [];
  const index = attempt(() => parseIndex(bytes));
  if (index !== undefined) return index.manifests.map(({ digest: child }): Node => `content ${child}`);
  const manifest = attempt(() => parseManifest(bytes));
  if (manifest !== undefined) {
    const layers = manifest.layers.map(({ digest: layer }): Node => `content ${layer}`);
    for (const layer of layers) graph.layers.add(layer);
    return [`content ${manifest.config.digest}`, ...layers];
  }
  const config = attempt(() => parseImageConfig(bytes));
  return chainIds(config?.rootfs.diff_ids ?? []).map((chainId): Node => `snapshot ${chainId}`);
}

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

async function sweepBlobs(
  store: ImageStore,
  graph: Graph,
  marked: ReadonlySet<Node>,
  before: number,
): Promise<{ count: number; bytes: number }> {
  let count = 0;
  let bytes = 0;
  for (const blob of graph.blobs.values()) {
    // `>`: a blob written in this very millisecond is garbage too when no minimum age is asked for.
    if (marked.has(`content ${blob.digest}`) || blob.touchedAt > before) continue;
    await store.content.delete(blob.digest);
    count += 1;
    bytes += blob.size;
  }
  if (count > 0) await store.content.sync();
  return { count, bytes };
}

async function sweepSnapshots(
  store: ImageStore,
  graph: Graph,
  marked: ReadonlySet<Node>,
  before: number,
): Promise<{ count: number; bytes: number }> {
  const doomed = new Set<string>();
  // Whole branches only: what a young or wanted snapshot stands on stays too.
  const kept = new Set<string>();
  for (const { name, createdAt } of graph.snapshots.values()) {
    if (!marked.has(`snapshot ${name}`) && createdAt <= before) continue;
    for (
      let next: string | undefined = name;
      next !== undefined && !kept.has(next);
      next = graph.snapshots.get(next)?.parent
    )
      kept.add(next);
  }
  for (const name of graph.snapshots.keys()) if (!kept.has(name)) doomed.add(name);
  const depth = (name: string): number => {
    let steps = 0;
    let next = graph.snapshots.get(name)?.parent;
    for (; next !== undefined && steps < MAX_DEPTH; steps += 1) next = graph.snapshots.get(next)?.parent;
    return steps;
  };
  let bytes = 0;
  const heights = new Map<number, string[]>();
  for (const name of doomed) {
    bytes += graph.snapshots.get(name)?.bytes ?? 0;
    const height = depth(name);
    heights.set(height, [...(heights.get(height) ?? []), name]);
  }
  // Children before parents: stopped at any point, nothing is left that stands on nothing.
  for (const height of [...heights.keys()].sort((one, other) => other - one))
    await store.snapshots.drop(...(heights.get(height) ?? []));
  return { count: doomed.size, bytes };
}
