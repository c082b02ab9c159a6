// The quorum register: linearizable reads and writes of one object over replicas that may be down, slow or damaged.
//
// Multi-writer ABD (Attiya, Bar-Noy, Dolev 1995; Lynch and Shvartsman 1997). Both operations have two phases:
//
//   write: 1. learn the latest tag from a quorum   2. store the value under a later tag at a quorum
//   read:  1. learn the latest version from a quorum   2. store it at a quorum, and only then answer
//
// The second phase of a read is what makes it linearizable: without it two reads, one after the other, could see a
// write under way and then not see it. It is awaited, and left out only when the first phase has shown that a quorum
// holds the version already. While data moves there are two sets of replicas and every phase needs a quorum of both.

import { type Clock, isHeptadError } from '@heptad/core';
import { StorageError } from '../errors.ts';
import { type Tag, type TagSource, ZERO_TAG } from '../model/tag.ts';
import type { VersionHeader } from '../model/version.ts';
import { type BackgroundWork, gather } from './gather.ts';
import type { ReplicaAccess, ReplicaView, Route, Version } from './replica.ts';

/** What a {@link QuorumRegister} works with. */
export interface RegisterOptions {
  readonly replicas: ReplicaAccess;
  readonly tags: TagSource;
  readonly background: BackgroundWork;
  readonly clock: Clock;
  /** In which order to ask nodes for bytes; the first is asked at once. */
  readonly prefer: (nodes: readonly string[]) => readonly string[];
}

/** A version to write, before it has its tag. */
export interface Draft {
  readonly header: Omit<VersionHeader, 'tag'>;
  readonly body: Uint8Array;
}

type Views = ReadonlyMap<string, ReplicaView>;

/** Refusals that prove that the node did not store. Anything else may have happened although the answer was lost. */
const DEFINITE_REFUSALS = [
  'INSUFFICIENT_SPACE',
  'UNAUTHENTICATED',
  'CHECKSUM_MISMATCH',
  'CLOCK_SKEW',
  'BUSY',
  'NODE_UNREACHABLE',
];

/** See the head of this file. */
export class QuorumRegister {
  readonly #options: RegisterOptions;

  constructor(options: RegisterOptions) {
    this.#options = options;
  }

  /** Phase 1 of a write: gives the draft a tag later than every version stored so far. */
  async draw(route: Route, draft: Draft, signal?: AbortSignal): Promise<Version> {
    const views = await this.#inspect(route, 'WRITE_FAILED', `store ${name(draft)}`, signal);
    return { header: { ...draft.header, tag: this.#options.tags.next(latest(views)) }, body: draft.body };
  }

  /** Phase 2 of a write: brings `version` to a quorum. `known`: nodes that have it already. */
  async store(
    route: Route,
    version: Version,
    known: ReadonlyMap<string, Tag> = new Map(),
    signal?: AbortSignal,
  ): Promise<void> {
    const { replicas } = this.#options;
    await gather<Tag>({
      ...this.#common(route, signal),
      code: 'WRITE_FAILED',
      doing: `store ${name(version)}`,
      known,
      ask: (node) => replicas.write(node, route, version),
      mayHaveHappened: (error) => !DEFINITE_REFUSALS.some((code) => isHeptadError(error, code)),
    });
  }

  /** The latest header, linearizably; `undefined` when there never was a version. Tombstones are headers too. */
  async head(route: Route, signal?: AbortSignal): Promise<VersionHeader | undefined> {
    const views = await this.#inspect(route, 'READ_FAILED', `look up ${route.id}`, signal);
    const tag = latest(views);
    if (tag === ZERO_TAG) return undefined;
    const header = [...views.values()].find((view) => view.tag === tag && view.header !== undefined)?.header;
    if (header !== undefined && heldByQuorum(route, views, tag)) return header;
    return (await this.read(route, signal))?.header;
  }

  /** The latest version, linearizably and verified; `undefined` when there never was one. */
  async read(route: Route, signal?: AbortSignal): Promise<Version | undefined> {
    const { replicas, prefer } = this.#options;
    const order = prefer([...new Set(route.sets.flatMap((set) => set.nodes))]);
    const views = new Map<string, ReplicaView>();
    const quorum = await gather<ReplicaView>({
      ...this.#common(route, signal),
      code: 'READ_FAILED',
      doing: `read ${route.id}`,
      ask: (node) => (node === order[0] ? replicas.read(node, route) : replicas.inspect(node, route)),
      onAnswer: (node, view) => views.set(node, view),
    });
    const tag = latest(quorum);
    if (tag === ZERO_TAG) return undefined;
    const version = await this.#fetch(route, tag, quorum, order);
    // Fetching the bytes may have found an even later version, of which no more is known than one holder.
    const holders = version.header.tag === tag ? quorum : new Map<string, ReplicaView>();
    if (!heldByQuorum(route, holders, version.header.tag))
      await this.#writeBack(route, version, holders, signal);
    this.#repairDamaged(route, version, views);
    return version;
  }

  /** One node's version, verified, whatever it is. */
  async readOne(route: Route, node: string): Promise<Version | undefined> {
    const view = await this.#options.replicas.read(node, route);
    if (view.tag === ZERO_TAG) return undefined;
    if (view.corrupt || view.header === undefined || view.body === undefined) {
      throw new StorageError('DATA_CORRUPT', `the copy on node "${node}" fails its SHA-256`);
    }
    return { header: view.header, body: view.body };
  }

  async #inspect(
    route: Route,
    code: 'WRITE_FAILED' | 'READ_FAILED',
    doing: string,
    signal: AbortSignal | undefined,
  ): Promise<Views> {
    const ask = (node: string): Promise<ReplicaView> => this.#options.replicas.inspect(node, route);
    return await gather<ReplicaView>({ ...this.#common(route, signal), code, doing, ask });
  }

  // The bytes of the version with `tag`, or of a later one. Nodes that are known to hold it come first; the others may
  // hold it too. An older version is never answered, even when no copy of this one is good.
  async #fetch(route: Route, tag: Tag, views: Views, order: readonly string[]): Promise<Version> {
    for (const view of views.values()) {
      if (view.tag === tag && view.body !== undefined && view.header !== undefined) {
        return { header: view.header, body: view.body };
      }
    }
    const holds = (node: string): boolean =>
      views.get(node)?.tag === tag && views.get(node)?.corrupt === false;
    const unknown = (node: string): boolean => !views.has(node);
    const candidates = [...order.filter(holds), ...order.filter(unknown)];
    const answers: { node: string; message: string }[] = [];
    for (const [node, view] of views) {
      if (view.corrupt) answers.push({ node, message: 'its copy fails its SHA-256' });
    }
    for (const node of candidates) {
      try {
        const version = await this.readOne(route, node);
        if (version !== undefined && version.header.tag >= tag) return version;
        answers.push({ node, message: 'has only an older version' });
      } catch (error) {
        answers.push({ node, message: error instanceof Error ? error.message : String(error) });
      }
    }
    const said = answers.map(({ node, message }) => `${node}: ${message}`).join('; ');
    throw new StorageError(
      'DATA_CORRUPT',
      `no good copy of version ${tag} of ${route.id} can be had: ${said}`,
      {
        hint: 'start the nodes that are down; if all are up, the object is lost: restore it from a backup',
        details: { replicas: answers, tag },
      },
    );
  }

  async #writeBack(
    route: Route,
    version: Version,
    views: Views,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const known = new Map<string, Tag>();
    for (const [node, view] of views) {
      if (view.tag === version.header.tag && !view.corrupt) known.set(node, view.tag);
    }
    const { replicas } = this.#options;
    await gather<Tag>({
      ...this.#common(route, signal),
      code: 'READ_FAILED',
      doing: `confirm ${name(version)}`,
      known,
      ask: (node) => replicas.write(node, route, version),
    });
  }

  // The reader has its answer; the damaged copy is replaced behind its back.
  #repairDamaged(route: Route, version: Version, views: Views): void {
    const { replicas, background } = this.#options;
    for (const [node, view] of views) {
      if (view.corrupt && view.tag <= version.header.tag)
        background.add(replicas.write(node, route, version));
    }
  }

  #common(route: Route, signal: AbortSignal | undefined) {
    const { background, replicas, clock } = this.#options;
    return { sets: route.sets, background, clock, signal, address: (node: string) => replicas.address(node) };
  }
}

function latest(views: Views): Tag {
  let tag = ZERO_TAG;
  for (const view of views.values()) if (view.tag > tag) tag = view.tag;
  return tag;
}

function heldByQuorum(route: Route, views: Views, tag: Tag): boolean {
  return route.sets.every(
    (set) => set.nodes.filter((node) => views.get(node)?.tag === tag).length >= set.quorum,
  );
}

function name(version: { readonly header: { readonly bucket: string; readonly key: string } }): string {
  return `${version.header.bucket}/${version.header.key}`;
}
