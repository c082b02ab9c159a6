// The cluster's state as the control loop sees it, kept up to date by watches.

import {
  type Clock,
  type ContainerResource,
  decodeResource,
  type EndpointResource,
  type Instant,
  type Key,
  type KeyValue,
  type NodeResource,
  type Random,
  resourcePrefix,
  type ServiceResource,
  type StateStore,
} from '@heptad/core';
import { canonicalJson } from '../plan/identity.ts';
import type { AddressClaim, ClusterState, RevisionRecord } from '../plan/state.ts';
import { decodeAddress, decodeRevision } from './decode.ts';
import { PrefixCache } from './prefix-cache.ts';

/** Options of {@link ClusterCache}. */
export interface ClusterCacheOptions {
  readonly store: StateStore;
  readonly namespace: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Something of the plan's input changed. */
  readonly onChange: () => void;
  readonly onError: (error: unknown) => void;
}

/** See the file's first line. All resources are of one revision of the store, because one watch brings them. */
export class ClusterCache implements ClusterState, AsyncDisposable {
  readonly namespace: string;
  readonly nodes: Map<string, NodeResource> = new Map();
  readonly services: Map<string, ServiceResource> = new Map();
  readonly containers: Map<string, ContainerResource> = new Map();
  readonly endpoints: Map<string, EndpointResource> = new Map();
  readonly revisions: Map<string, readonly RevisionRecord[]> = new Map();
  readonly addresses: Map<string, AddressClaim> = new Map();
  readonly heartbeats: Map<string, Instant> = new Map();
  readonly ready: Promise<void>;
  readonly #options: ClusterCacheOptions;
  readonly #caches: PrefixCache[];
  readonly #waiting = new Set<{ revision: number; resolve: () => void }>();
  #revision = 0;
  /** Something other than a heartbeat came since the last batch. */
  #relevant = false;

  constructor(options: ClusterCacheOptions) {
    this.#options = options;
    this.namespace = options.namespace;
    const { store, clock, random, onError, onChange } = options;
    const cache = (
      prefix: Key,
      onPut: (kv: KeyValue) => void,
      onDelete: (key: Key) => void,
      onBatch: (revision: number, relisted: boolean) => void,
    ): PrefixCache => new PrefixCache({ store, prefix, clock, random, onPut, onDelete, onBatch, onError });
    this.#caches = [
      cache(
        '/resources/',
        (kv) => this.#guard(() => this.#putResource(kv)),
        (key) => this.#deleteResource(key),
        (revision, relisted) => this.#batch(revision, relisted),
      ),
      cache(
        `/rollouts/${this.namespace}/`,
        (kv) => this.#guard(() => this.#putRevision(kv)),
        (key) => this.#deleteRevision(key),
        onChange,
      ),
      cache(
        '/addresses/',
        (kv) => this.#guard(() => this.addresses.set(kv.key.slice('/addresses/'.length), decodeAddress(kv))),
        (key) => this.addresses.delete(key.slice('/addresses/'.length)),
        onChange,
      ),
    ];
    this.ready = Promise.all(this.#caches.map((one) => one.ready)).then(() => {});
    this.ready.catch(() => {});
  }

  /** The revision all resources are at. */
  get revision(): number {
    return this.#revision;
  }

  /** Resolves once the resources are at `revision` or later, or after `timeoutMs`. */
  async reached(revision: number, timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (this.#revision >= revision) return;
    const done = new AbortController();
    const arrived = new Promise<void>((resolve) => {
      const entry = { revision, resolve };
      this.#waiting.add(entry);
      done.signal.addEventListener('abort', () => this.#waiting.delete(entry), { once: true });
    });
    const timeout = this.#options.clock.sleep(timeoutMs, AbortSignal.any([done.signal, signal]));
    await Promise.race([arrived, timeout.catch(() => {})]);
    done.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#caches.map((one) => one[Symbol.asyncDispose]()));
  }

  /** One unreadable key must not blind the controller to all others; it is reported and left out. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#options.onError(error);
    }
  }

  #batch(revision: number, relisted: boolean): void {
    this.#revision = Math.max(this.#revision, revision);
    if (relisted) {
      // We were blind until now, perhaps because the store was away, and then no agent could report either: everybody
      // gets the full grace again.
      const now = this.#options.clock.now();
      for (const name of this.nodes.keys()) this.heartbeats.set(name, now);
    }
    for (const entry of [...this.#waiting]) {
      if (entry.revision > this.#revision) continue;
      this.#waiting.delete(entry);
      entry.resolve();
    }
    // Heartbeats of many nodes would otherwise keep the planner busy with plans that change nothing.
    if (this.#relevant || relisted) this.#options.onChange();
    this.#relevant = false;
  }

  #nameOf(kind: 'Node' | 'Service' | 'Container' | 'Endpoint', key: Key): string | undefined {
    const prefix = resourcePrefix(kind, this.namespace);
    return key.startsWith(prefix) ? key.slice(prefix.length) : undefined;
  }

  #putResource(kv: KeyValue): void {
    const node = this.#nameOf('Node', kv.key);
    if (node !== undefined) {
      this.#putNode(node, decodeResource('Node', kv));
      return;
    }
    this.#relevant = true;
    const container = this.#nameOf('Container', kv.key);
    if (container !== undefined) {
      this.containers.set(container, decodeResource('Container', kv));
      return;
    }
    const endpoint = this.#nameOf('Endpoint', kv.key);
    if (endpoint !== undefined) {
      this.endpoints.set(endpoint, decodeResource('Endpoint', kv));
      return;
    }
    const service = this.#nameOf('Service', kv.key);
    if (service !== undefined) {
      this.services.set(service, decodeResource('Service', kv));
    }
  }

  #putNode(name: string, node: NodeResource): void {
    const before = this.nodes.get(name);
    const beat =
      before === undefined ||
      before.status.heartbeatAt !== node.status.heartbeatAt ||
      before.status.agentGeneration !== node.status.agentGeneration;
    if (beat) this.heartbeats.set(name, this.#options.clock.now());
    this.nodes.set(name, node);
    this.#relevant ||= before === undefined || withoutBeat(before) !== withoutBeat(node);
  }

  #deleteResource(key: Key): void {
    this.#relevant = true;
    const node = this.#nameOf('Node', key);
    if (node !== undefined) {
      this.nodes.delete(node);
      this.heartbeats.delete(node);
    }
    this.services.delete(this.#nameOf('Service', key) ?? '');
    this.containers.delete(this.#nameOf('Container', key) ?? '');
    this.endpoints.delete(this.#nameOf('Endpoint', key) ?? '');
  }

  #putRevision(kv: KeyValue): void {
    const { service, record } = decodeRevision(kv, this.namespace);
    const others = (this.revisions.get(service) ?? []).filter((other) => other.number !== record.number);
    this.revisions.set(
      service,
      [...others, record].sort((a, b) => a.number - b.number),
    );
  }

  #deleteRevision(key: Key): void {
    const [service = '', number = ''] = key.slice(`/rollouts/${this.namespace}/`.length).split('/');
    const rest = (this.revisions.get(service) ?? []).filter((other) => other.number !== Number(number));
    if (rest.length === 0) this.revisions.delete(service);
    else this.revisions.set(service, rest);
  }
}

/** A node as the planner sees it; the heartbeat reaches the planner through {@link ClusterCache.heartbeats}. */
function withoutBeat(node: NodeResource): string {
  return canonicalJson({ ...node, revision: 0, status: { ...node.status, heartbeatAt: 0 } });
}
