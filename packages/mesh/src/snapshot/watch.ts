// watchMeshSnapshot: the state store's resources as a stream of snapshots.

import { isDeepStrictEqual } from 'node:util';
import {
  type Clock,
  Informer,
  type MeshSnapshot,
  type Random,
  type StateStore,
  systemClock,
} from '@heptad/core';
import { compileSnapshot } from './compile.ts';

/** How {@link watchMeshSnapshot} watches. */
export interface WatchMeshSnapshotOptions {
  /** Ends the stream. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Default `default`. */
  readonly namespace?: string;
  /** Changes within this time make one snapshot. Default 10 ms: a rollout step writes several resources at once. */
  readonly coalesceMs?: number;
  /** Hears failures to reach the store; the stream goes on with what is known. */
  readonly onError?: (error: unknown) => void;
}

/**
 * Yields the present snapshot once all kinds are read, then a new one after each change that matters to the data plane
 * (a heartbeat or another status that compiles to the same snapshot is not one). While the store cannot be reached, or
 * after a compaction until it is read again, the last snapshot simply stays in force: nothing is yielded, nothing ends.
 *
 * @example
 * ```ts
 * import { MemoryStateStore } from '@heptad/core';
 * import { watchMeshSnapshot } from '@heptad/mesh';
 *
 * await using store = new MemoryStateStore();
 * for await (const snapshot of watchMeshSnapshot(store)) {
 *   console.log(snapshot.services.length); // 0
 *   break;
 * }
 * ```
 */
export async function* watchMeshSnapshot(
  store: StateStore,
  options: WatchMeshSnapshotOptions = {},
): AsyncGenerator<MeshSnapshot, void, undefined> {
  const clock = options.clock ?? systemClock;
  const { signal } = options;
  const settings = {
    clock,
    ...(options.random === undefined ? {} : { random: options.random }),
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
    ...(options.onError === undefined ? {} : { onError: options.onError }),
  };
  await using services = new Informer(store, 'Service', settings);
  await using endpoints = new Informer(store, 'Endpoint', settings);
  await using policies = new Informer(store, 'NetworkPolicy', settings);
  await using rules = new Informer(store, 'TrafficRule', settings);
  await using containers = new Informer(store, 'Container', settings);
  const informers = [services, endpoints, policies, rules, containers];
  const compile = (): MeshSnapshot =>
    compileSnapshot({
      revision: Math.max(...informers.map((informer) => informer.revision)),
      services: services.items.values(),
      endpoints: endpoints.items.values(),
      policies: policies.items.values(),
      rules: rules.items.values(),
      containers: containers.items.values(),
    });

  const changes = new ChangeBell(signal);
  if (!(await changes.orAborted(Promise.all(informers.map((informer) => informer.ready))))) return;
  for (const informer of informers) informer.onChange(() => changes.ring());
  let last = compile();
  yield last;
  while (await changes.next()) {
    await clock.sleep(options.coalesceMs ?? 10, signal).catch(() => {});
    if (signal?.aborted) return;
    changes.silence();
    const next = compile();
    if (isDeepStrictEqual(withoutRevisions(next), withoutRevisions(last))) continue;
    last = next;
    yield next;
  }
}

function withoutRevisions(snapshot: MeshSnapshot): unknown {
  const endpoints = snapshot.endpoints.map(({ version: _, ...set }) => set);
  return { ...snapshot, revision: 0, endpoints };
}

/** Remembers that something changed until somebody asks. */
class ChangeBell {
  readonly #signal: AbortSignal | undefined;
  #rung = false;
  #wake: (() => void) | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    signal?.addEventListener('abort', () => this.#wake?.(), { once: true });
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  silence(): void {
    this.#rung = false;
  }

  /** Resolves `true` at the next change, `false` when aborted. */
  async next(): Promise<boolean> {
    while (!this.#rung && !this.#signal?.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return !this.#signal?.aborted;
  }

  /** Waits for `work`; `false` when aborted before. */
  async orAborted(work: Promise<unknown>): Promise<boolean> {
    const signal = this.#signal;
    if (signal === undefined) {
      await work;
      return true;
    }
    const aborted = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await Promise.race([work, aborted]);
    return !signal.aborted;
  }
}
