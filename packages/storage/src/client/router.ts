// From an object to its replicas: under which layout an operation runs, and which node is asked first.

import { isHeptadError, type Random } from '@heptad/core';
import { StorageError } from '../errors.ts';
import { MAX_LAYOUT_RETRIES } from '../limits.ts';
import { objectId } from '../model/version.ts';
import { partitionOf } from '../placement/assign.ts';
import { quorumSets } from '../placement/layout.ts';
import type { LayoutClient } from './layout-client.ts';
import type { Route } from './replica.ts';

/** What a {@link Router} works with. */
export interface RouterOptions {
  readonly layouts: LayoutClient;
  readonly random: Random;
  /** Failure domain of the client. */
  readonly zone: string | undefined;
  /** Aborted when the store was closed. */
  readonly closed: AbortSignal;
}

/** See the head of this file. */
export class Router {
  readonly #options: RouterOptions;

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /** Runs a phase under the layout of the moment; when nodes refuse it as too old, again under the newer one. */
  async run<T>(bucket: string, key: string, phase: (route: Route) => Promise<T>): Promise<T> {
    this.checkOpen();
    const { layouts } = this.#options;
    const id = objectId(bucket, key);
    let layout = await layouts.get();
    for (let attempt = 1; ; attempt += 1) {
      const sets = quorumSets(layout, partitionOf(id));
      try {
        return await phase({ id, layoutVersion: layout.version, sets });
      } catch (error) {
        if (attempt >= MAX_LAYOUT_RETRIES || !saysStaleLayout(error)) throw error;
        const newer = await layouts.refresh();
        if (newer.version === layout.version) throw error;
        layout = newer;
      }
    }
  }

  /** Nodes in the order to ask them: those of the client's zone first, else spread by chance. */
  prefer(candidates: readonly string[]): readonly string[] {
    const { layouts, random, zone } = this.#options;
    const nodes = layouts.layout?.nodes ?? [];
    const near = (id: string): boolean =>
      zone !== undefined && nodes.find((node) => node.id === id)?.zone === zone;
    // A random start spreads the reads of a hot object over its replicas.
    const start = random.integer(Math.max(1, candidates.length));
    const rotated = [...candidates.slice(start), ...candidates.slice(0, start)];
    return [...rotated.filter(near), ...rotated.filter((id) => !near(id))];
  }

  /** The nodes of a route in that order. */
  order(route: Route): readonly string[] {
    return this.prefer([...new Set(route.sets.flatMap((set) => set.nodes))]);
  }

  /** `STORE_CLOSED` once it was. */
  checkOpen(): void {
    if (!this.#options.closed.aborted) return;
    throw new StorageError('STORE_CLOSED', 'cannot use the object store: it was closed');
  }
}

function saysStaleLayout(error: unknown): boolean {
  if (isHeptadError(error, 'STALE_LAYOUT')) return true;
  const replicas = isHeptadError(error) ? error.details.replicas : undefined;
  const stale = (answer: unknown): boolean =>
    typeof answer === 'object' && answer !== null && 'code' in answer && answer.code === 'STALE_LAYOUT';
  return Array.isArray(replicas) && replicas.some(stale);
}
