// Resources: typed, validated access to all resources of one kind in a state store.

import { isDeepStrictEqual } from 'node:util';
import type { Revision, StateStore } from '../contracts/state-store.ts';
import { type HeptadError, isHeptadError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import { systemClock } from '../ports/node/clock.ts';
import { systemRandom } from '../ports/node/random.ts';
import type { Random } from '../ports/random.ts';
import type { Labels, ResourceKind, ResourceOf } from '../resources/index.ts';
import { initialStatus } from './initial-status.ts';
import {
  decodeResource,
  decodeResourceIfValid,
  parseResource,
  resourceKey,
  resourcePrefix,
} from './resource-codec.ts';
import type {
  ApplyInput,
  ApplyOptions,
  ResourceChange,
  ResourcesOptions,
  StatusOf,
} from './resource-types.ts';
import {
  conflictError,
  type Decision,
  decided,
  labelOf,
  notFoundError,
  type ResourceAddress,
  type Stored,
  writeOf,
} from './resource-write.ts';

/** A writer that loses this many races in a row is told so; each loss means that somebody else got ahead. */
const MAXIMUM_ATTEMPTS = 64;

/**
 * Get, list, write and watch the resources of one kind.
 *
 * Every write is a compare-and-set: it never overwrites a change it has not seen. Without `ifRevision` a lost race is
 * tried again on what is there now.
 *
 * Errors: `NOT_FOUND`, `REVISION_CONFLICT`, `INVALID_RESOURCE` (every problem with its path), and the store's own.
 *
 * @example
 * ```ts
 * import { MemoryStateStore, Resources } from '@heptad/core';
 *
 * await using store = new MemoryStateStore();
 * const centers = new Resources(store, 'Center');
 * await centers.apply({ name: 'north', spec: { address: '10.0.0.1:7070' } });
 * const center = await centers.updateStatus('north', (current) => ({ ...current.status, role: 'primary' }));
 * console.log(center.generation, center.status.role); // 1 primary
 * ```
 */
export class Resources<K extends ResourceKind> {
  readonly kind: K;
  readonly namespace: string;
  readonly #store: StateStore;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(store: StateStore, kind: K, options: ResourcesOptions = {}) {
    this.#store = store;
    this.kind = kind;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.namespace = options.namespace ?? 'default';
  }

  /** The resource; `NOT_FOUND` when there is none. */
  async get(name: string): Promise<ResourceOf<K>> {
    const resource = await this.find(name);
    if (resource === undefined) throw this.#notFound(name, 'read');
    return resource;
  }

  /** The resource, or `undefined`. */
  async find(name: string): Promise<ResourceOf<K> | undefined> {
    return (await this.#read(name))?.resource;
  }

  /** All of the namespace in name order, or those with all the given labels, and the revision they were read at. */
  async list(options: { labels?: Labels } = {}): Promise<{ items: ResourceOf<K>[]; revision: Revision }> {
    const prefix = resourcePrefix(this.kind, this.namespace);
    const { kvs, revision } = await this.#store.range({ key: prefix, prefix: true });
    const wanted = Object.entries(options.labels ?? {});
    const items = kvs
      .map((kv) => decodeResource(this.kind, kv))
      .filter((item) => wanted.every(([label, value]) => item.labels[label] === value));
    return { items, revision };
  }

  /** Creates it, or replaces its spec (and labels, finalizers). `generation` rises only when the spec changes. */
  async apply(input: ApplyInput<K>, options: ApplyOptions = {}): Promise<ResourceOf<K>> {
    return this.#write(input.name, 'apply', options, (stored) => {
      if (stored === undefined) {
        return { put: this.#make(input), leaseId: options.leaseId };
      }
      const { resource, kv } = stored;
      if (resource.deletedAt !== undefined) {
        throw this.#conflict(input.name, 'apply', 'it is being deleted', true);
      }
      const next = this.#revise(resource, {
        ...resource,
        spec: input.spec,
        ...(input.labels === undefined ? {} : { labels: input.labels }),
        ...(input.finalizers === undefined ? {} : { finalizers: [...input.finalizers] }),
      });
      const leaseId = options.leaseId ?? kv.leaseId;
      return isDeepStrictEqual(next, resource) && leaseId === kv.leaseId ? 'keep' : { put: next, leaseId };
    });
  }

  /**
   * Replaces the status by what `decide` makes of the present resource; `undefined` changes nothing. `decide` may be
   * called again when somebody else wrote meanwhile. `ifGeneration`: `REVISION_CONFLICT` when the spec has moved on.
   */
  async updateStatus(
    name: string,
    decide: (current: ResourceOf<K>) => StatusOf<K> | undefined,
    options: { ifGeneration?: number } = {},
  ): Promise<ResourceOf<K>> {
    return this.#write(name, 'update the status of', {}, (stored) => {
      if (stored === undefined) throw this.#notFound(name, 'update the status of');
      const { resource, kv } = stored;
      if (options.ifGeneration !== undefined && options.ifGeneration !== resource.generation) {
        const why = `it is at generation ${resource.generation}, not ${options.ifGeneration}`;
        throw this.#conflict(name, 'update the status of', why, false);
      }
      const status = decide(resource);
      if (status === undefined) return 'keep';
      const next = parseResource(
        this.kind,
        { ...resource, status },
        `update the status of ${this.#label(name)}`,
      );
      return isDeepStrictEqual(next, resource) ? 'keep' : { put: next, leaseId: kv.leaseId };
    });
  }

  /**
   * Replaces the whole resource by what `decide` makes of it; `undefined` changes nothing. Kind, id, namespace, name,
   * generation and creation time stay what they are. A resource marked for deletion without finalizers left goes.
   */
  async update(
    name: string,
    decide: (current: ResourceOf<K>) => ResourceOf<K> | undefined,
  ): Promise<ResourceOf<K>> {
    return this.#write(name, 'update', {}, (stored) => {
      if (stored === undefined) throw this.#notFound(name, 'update');
      const decided = decide(stored.resource);
      if (decided === undefined) return 'keep';
      const next = this.#revise(stored.resource, decided);
      if (next.deletedAt !== undefined && next.finalizers.length === 0) return 'delete';
      return isDeepStrictEqual(next, stored.resource) ? 'keep' : { put: next, leaseId: stored.kv.leaseId };
    });
  }

  /**
   * Deletes it; while it has finalizers it is only marked (`deletedAt`), and goes with the last of them. Answers which
   * of the two happened. Removing a marked one again is no error.
   */
  async remove(name: string, options: { ifRevision?: Revision } = {}): Promise<'deleted' | 'marked'> {
    let outcome: 'deleted' | 'marked' = 'deleted';
    await this.#write(name, 'remove', options, (stored) => {
      if (stored === undefined) throw this.#notFound(name, 'remove');
      const { resource, kv } = stored;
      outcome = resource.finalizers.length === 0 ? 'deleted' : 'marked';
      if (outcome === 'deleted') return 'delete';
      if (resource.deletedAt !== undefined) return 'keep';
      return { put: { ...resource, deletedAt: this.#clock.now() }, leaseId: kv.leaseId };
    });
    return outcome;
  }

  /** Says that one part has cleaned up. The resource goes when it is marked and this was the last. Gone is no error. */
  async removeFinalizer(name: string, finalizer: string): Promise<void> {
    try {
      await this.update(name, (current) => ({
        ...current,
        finalizers: current.finalizers.filter((other) => other !== finalizer),
      }));
    } catch (error) {
      if (!isHeptadError(error, 'NOT_FOUND')) throw error;
    }
  }

  /** Changes of the namespace, an array a revision. Ends with the signal; `COMPACTED` as the store's watch. */
  async *watch(
    options: { fromRevision?: Revision; signal?: AbortSignal } = {},
  ): AsyncGenerator<readonly ResourceChange<K>[]> {
    const prefix = resourcePrefix(this.kind, this.namespace);
    for await (const events of this.#store.watch({ prefix, ...options })) {
      yield events.map((event): ResourceChange<K> => {
        if (event.type === 'put') {
          return { type: 'put', resource: decodeResource(this.kind, event.kv), revision: event.revision };
        }
        const previous =
          event.previous === undefined ? undefined : decodeResourceIfValid(this.kind, event.previous);
        return {
          type: 'delete',
          name: event.key.slice(prefix.length),
          namespace: this.namespace,
          revision: event.revision,
          ...(previous === undefined ? {} : { previous }),
        };
      });
    }
  }

  #label(name: string): string {
    return labelOf(this.#address(name));
  }

  #address(name: string): ResourceAddress {
    return { kind: this.kind, namespace: this.namespace, name };
  }

  #notFound(name: string, doing: string): HeptadError {
    return notFoundError(this.#address(name), doing);
  }

  #conflict(name: string, doing: string, why: string, retryable: boolean): HeptadError {
    return conflictError(this.#address(name), doing, why, retryable);
  }

  /** A new resource of the input, validated. */
  #make(input: ApplyInput<K>): ResourceOf<K> {
    const now = this.#clock.now();
    const made = {
      kind: this.kind,
      id: this.#random.uuid(now),
      namespace: this.namespace,
      name: input.name,
      labels: input.labels ?? {},
      spec: input.spec,
      status: input.status ?? initialStatus(this.kind),
      generation: 1,
      revision: 0,
      createdAt: now,
      finalizers: [...(input.finalizers ?? [])],
    };
    return parseResource(this.kind, made, `create ${this.#label(input.name)}`);
  }

  /** `changed`, validated, with the identity of `current` and the generation its spec earns. */
  #revise(current: ResourceOf<K>, changed: object): ResourceOf<K> {
    const { kind, id, namespace, name, createdAt, revision, generation } = current;
    const identity = { kind, id, namespace, name, createdAt, revision };
    const candidate = { ...changed, ...identity, generation };
    const next = parseResource(this.kind, candidate, `change ${this.#label(name)}`);
    return isDeepStrictEqual(next.spec, current.spec) ? next : { ...next, generation: generation + 1 };
  }

  async #read(name: string): Promise<Stored<K> | undefined> {
    const { kvs } = await this.#store.range({ key: resourceKey(this.kind, this.namespace, name) });
    const kv = kvs[0];
    return kv === undefined ? undefined : { kv, resource: decodeResource(this.kind, kv) };
  }

  /** Read, decide, write if nobody wrote in between; else once more on what is there now. */
  async #write(
    name: string,
    doing: string,
    options: ApplyOptions,
    decide: (stored: Stored<K> | undefined) => Decision<K>,
  ): Promise<ResourceOf<K>> {
    const key = resourceKey(this.kind, this.namespace, name);
    for (let attempt = 0; attempt < MAXIMUM_ATTEMPTS; attempt += 1) {
      const stored = await this.#read(name);
      const actual = stored?.kv.modRevision ?? 0;
      if (options.ifRevision !== undefined && options.ifRevision !== actual) {
        const why =
          actual === 0
            ? `there is none, but revision ${options.ifRevision} was expected`
            : `it is at revision ${actual}, not ${options.ifRevision}`;
        throw this.#conflict(name, doing, why, false);
      }
      const decision = decide(stored);
      const answer = decided(decision, stored);
      if (decision === 'keep' || options.dryRun === true) return answer;
      // The id lets a remote store re-check a write whose answer was lost instead of failing it.
      const requestId = this.#random.uuid(this.#clock.now());
      const result = await this.#store.txn(writeOf(key, actual, decision, requestId));
      if (result.succeeded) {
        return decision === 'delete' ? answer : { ...answer, revision: result.revision };
      }
    }
    const why = `somebody else changed it first, ${MAXIMUM_ATTEMPTS} times in a row`;
    throw this.#conflict(name, doing, why, true);
  }
}
