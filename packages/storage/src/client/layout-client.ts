// A client's knowledge of the layout: found at the nodes, refreshed when they say it is old, changed by consensus.

import { type Clock, isHeptadError } from '@heptad/core';
import { quorumError, replicaAnswer, StorageError } from '../errors.ts';
import type { TagSource } from '../model/tag.ts';
import { firstLayout, type Layout, type LayoutNode, sameLayout } from '../placement/layout.ts';
import { type BackgroundWork, gather } from './gather.ts';
import type { HttpReplicas } from './http-replica.ts';

/** A node the client was told of. */
export interface KnownNode {
  readonly id: string;
  /** `host:port` as this client reaches it; it goes before the address in the layout. */
  readonly address: string;
  readonly zone?: string;
  readonly capacityBytes?: number;
}

/** Options of {@link LayoutClient}. */
export interface LayoutClientOptions {
  readonly replicas: HttpReplicas;
  readonly nodes: readonly KnownNode[];
  readonly seeds: readonly string[];
  readonly replicationFactor: number;
  readonly tags: TagSource;
  readonly clock: Clock;
  readonly background: BackgroundWork;
}

/** Rounds of the consensus with others proposing too; each waits a little longer. */
const MAX_PROPOSALS = 10;
const PROPOSAL_PAUSE_MS = 50;
/** Pause between two looks for nodes that have not started yet. */
const SEEK_PAUSE_MS = 500;

/** See the head of this file. */
export class LayoutClient {
  readonly #options: LayoutClientOptions;
  readonly #addresses = new Map<string, string>();
  #layout: Layout | undefined;
  #loading: Promise<Layout> | undefined;

  constructor(options: LayoutClientOptions) {
    this.#options = options;
    for (const node of options.nodes) this.#addresses.set(node.id, node.address);
  }

  /** The layout in use, if it has been found yet. */
  get layout(): Layout | undefined {
    return this.#layout;
  }

  /** `host:port` of a node as this client reaches it. */
  addressOf(node: string): string {
    return (
      this.#addresses.get(node) ??
      this.#layout?.nodes.find((candidate) => candidate.id === node)?.address ??
      node
    );
  }

  /** The layout; the first call looks for it. `LAYOUT_UNAVAILABLE` when no node has one. */
  async get(): Promise<Layout> {
    return this.#layout ?? (await this.refresh());
  }

  /** Looks for the layout until it is found or the signal aborts; a new cluster is laid out by this. */
  async seek(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.get();
        return;
      } catch {
        // Nodes may still be starting; an operation meanwhile tells its caller what is missing.
        await this.#options.clock.sleep(SEEK_PAUSE_MS, signal).catch(() => undefined);
      }
    }
  }

  /** Asks all nodes for the newest layout. Calls at the same time share one round. */
  async refresh(): Promise<Layout> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return await this.#loading;
  }

  /**
   * Has `next` chosen as the layout after the present one and tells all nodes. Rejects with `LAYOUT_CONFLICT` when
   * somebody else's was chosen for that version.
   */
  async change(next: Layout): Promise<Layout> {
    const acceptors = this.#layout?.nodes ?? next.nodes;
    const chosen = await this.#propose(next, acceptors);
    await this.spread(chosen, [...new Set([...acceptors, ...chosen.nodes].map((node) => node.id))]);
    if (sameLayout(chosen, next)) return chosen;
    throw new StorageError('LAYOUT_CONFLICT', `another change of the cluster became layout ${next.version}`, {
      hint: 'look at "heptad storage status", then decide again',
      retryable: true,
    });
  }

  /** Hands a chosen layout to nodes and goes by it; resolves with the nodes that have it on disk. */
  async spread(layout: Layout, nodes: readonly string[]): Promise<string[]> {
    this.#adopt(layout);
    const told = await Promise.all(
      nodes.map(async (node) => {
        try {
          await this.#options.replicas.putLayout(this.addressOf(node), layout);
          return [node];
        } catch (error) {
          // A node that knows a newer one has this one behind it, too. Others learn it with their next request.
          return isHeptadError(error, 'STALE_LAYOUT') ? [node] : [];
        }
      }),
    );
    return told.flat();
  }

  async #load(): Promise<Layout> {
    const { replicas, nodes, seeds } = this.#options;
    const addresses = new Set([
      ...seeds,
      ...nodes.map((node) => node.address),
      ...(this.#layout?.nodes ?? []).map((node) => this.addressOf(node.id)),
    ]);
    const failures: ReturnType<typeof replicaAnswer>[] = [];
    let reached = 0;
    await Promise.all(
      [...addresses].map(async (address) => {
        try {
          const layout = await replicas.layout(address);
          reached += 1;
          // A seed's own name for itself may not be reachable from here; the address that worked is.
          if (seeds.includes(address)) this.#addresses.set((await replicas.status(address)).id, address);
          if (layout !== undefined) this.#adopt(layout);
        } catch (error) {
          failures.push(replicaAnswer(address, address, error));
        }
      }),
    );
    if (this.#layout !== undefined) return this.#layout;
    if (nodes.length > 0 && reached * 2 > nodes.length) return await this.#found();
    throw new StorageError(
      'LAYOUT_UNAVAILABLE',
      `cannot find out where objects are kept: of ${addresses.size} storage nodes ${reached} answered, none with a ` +
        `layout${failures.map(({ address, message }) => `; ${address}: ${message}`).join('')}`,
      {
        hint: 'start the storage nodes; a new cluster is laid out by the first client that is given "nodes"',
        retryable: true,
        details: { replicas: failures },
      },
    );
  }

  // The first client of a new cluster lays it out.
  async #found(): Promise<Layout> {
    const { replicas, nodes, replicationFactor } = this.#options;
    const members = await Promise.all(
      nodes.map(async (node): Promise<LayoutNode> => {
        const status = node.capacityBytes === undefined ? await replicas.status(node.address) : undefined;
        const zone = node.zone ?? status?.zone;
        const capacityBytes = node.capacityBytes ?? status?.capacityBytes ?? 0;
        const { id, address } = node;
        return { id, address, capacityBytes, ...(zone === undefined ? {} : { zone }) };
      }),
    );
    const chosen = await this.#propose(firstLayout(members, replicationFactor), members);
    await this.spread(
      chosen,
      chosen.nodes.map((node) => node.id),
    );
    return chosen;
  }

  #adopt(layout: Layout): void {
    if ((this.#layout?.version ?? 0) < layout.version) this.#layout = layout;
  }

  // Single-decree Paxos: a proposal that may have been chosen already is carried to its end instead of ours.
  async #propose(wanted: Layout, acceptors: readonly LayoutNode[]): Promise<Layout> {
    const { tags, clock } = this.#options;
    const ids = acceptors.map((node) => node.id);
    const sets = [{ nodes: ids, quorum: Math.floor(ids.length / 2) + 1 }];
    for (let round = 1; ; round += 1) {
      try {
        return await this.#proposeOnce(wanted, sets, tags.next());
      } catch (error) {
        const newest = await this.#chosenSince(wanted.version, ids);
        if (newest !== undefined) return newest;
        if (round >= MAX_PROPOSALS) throw error;
        await clock.sleep(PROPOSAL_PAUSE_MS * round);
      }
    }
  }

  async #proposeOnce(
    wanted: Layout,
    sets: readonly { nodes: readonly string[]; quorum: number }[],
    ballot: string,
  ): Promise<Layout> {
    const { replicas, background, clock } = this.#options;
    const common = {
      sets,
      background,
      clock,
      code: 'WRITE_FAILED' as const,
      doing: `change the layout to version ${wanted.version}`,
      address: (node: string) => this.addressOf(node),
    };
    const promises = await gather({
      ...common,
      ask: async (node) =>
        await this.#caughtUp(node, () =>
          replicas.prepareLayout(this.addressOf(node), wanted.version, ballot),
        ),
    });
    let proposal = { ballot: '', layout: wanted };
    for (const accepted of promises.values()) {
      if (accepted !== undefined && accepted.ballot > proposal.ballot) proposal = accepted;
    }
    const layout = proposal.layout;
    await gather({
      ...common,
      ask: (node) => replicas.acceptLayout(this.addressOf(node), { ballot, layout }),
    });
    return layout;
  }

  async #caughtUp<T>(node: string, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (!isHeptadError(error, 'NODE_BEHIND') || this.#layout === undefined) throw error;
      await this.#options.replicas.putLayout(this.addressOf(node), this.#layout);
      return await ask();
    }
  }

  async #chosenSince(version: number, nodes: readonly string[]): Promise<Layout | undefined> {
    const layouts = await Promise.allSettled(
      nodes.map((node) => this.#options.replicas.layout(this.addressOf(node))),
    );
    for (const answer of layouts) {
      const layout = answer.status === 'fulfilled' ? answer.value : undefined;
      if (layout !== undefined && layout.version >= version) return layout;
    }
    return undefined;
  }
}

/** The error when the layout changes faster than an operation can follow. */
export function layoutChurn(doing: string): StorageError {
  return quorumError({
    code: doing.startsWith('read') ? 'READ_FAILED' : 'WRITE_FAILED',
    doing: `${doing} (the layout kept changing)`,
    needed: 1,
    asked: 0,
    succeeded: [],
    failed: [],
    outcome: 'unknown',
  });
}
