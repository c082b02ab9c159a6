// Registration: one endpoint in the registry, kept alive by a lease, registered again when the lease is lost.

import {
  type Clock,
  HeptadError,
  isHeptadError,
  type Lease,
  type Random,
  type Resources,
  type StateStore,
} from '@heptad/core';
import { backoffMs } from '../resilience/retry.ts';

/** What to register. */
export interface RegistrationSpec {
  /** Service name, a DNS label. */
  readonly service: string;
  /** Address others reach it at. */
  readonly address: string;
  /** Port name -> port; the first is the default. */
  readonly ports: Readonly<Record<string, number>>;
  readonly version?: string;
  /** Relative share. Default 1. */
  readonly weight?: number;
  readonly zone?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Others stop calling this long after the heartbeats end. Default 10 s, at least 1 s. */
  readonly ttlMs?: number;
}

/** What a registration works with. */
export interface RegistrationContext {
  readonly store: StateStore;
  readonly endpoints: Resources<'Endpoint'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly onError: ((error: unknown) => void) | undefined;
  readonly onClosed: (registration: Registration) => void;
}

const REREGISTER = { baseMs: 200, maxMs: 5_000 };
const DEFAULT_TTL_MS = 10_000;

/** A registered endpoint. Close it to leave the registry. */
export class Registration implements AsyncDisposable {
  /** Name of the Endpoint resource. */
  readonly id: string;
  readonly spec: RegistrationSpec;
  readonly #context: RegistrationContext;
  readonly #closed = new AbortController();
  #lease: Lease | undefined;
  #state: 'ready' | 'draining' = 'ready';
  #keeping: Promise<void> = Promise.resolve();

  /** Made by `ServiceRegistry.register`. */
  constructor(id: string, spec: RegistrationSpec, context: RegistrationContext) {
    this.id = id;
    this.spec = spec;
    this.#context = context;
  }

  /** Whether the registry can be trusted to show it now. */
  get alive(): boolean {
    return this.#lease !== undefined && !this.#lease.lost.aborted;
  }

  /** Registers for the first time; rejects when that fails. */
  async start(): Promise<void> {
    const lease = await this.#register();
    this.#keeping = this.#keep(lease);
  }

  /** Callers send nothing new from now on; what is in flight may end. */
  async drain(): Promise<void> {
    this.#state = 'draining';
    try {
      await this.#context.endpoints.updateStatus(this.id, () => ({ state: 'draining' }));
    } catch (error) {
      // Not there: then nobody is sent here anyway.
      if (!isHeptadError(error, 'NOT_FOUND')) throw error;
    }
  }

  /** Leaves the registry at once. */
  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#context.onClosed(this);
    await this.#keeping;
    // Revoking deletes the endpoint with the lease; when the store is out of reach the lease ends by itself.
    await this.#lease?.revoke().catch((error: unknown) => this.#context.onError?.(error));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #register(): Promise<Lease> {
    const { store, endpoints } = this.#context;
    const { ttlMs = DEFAULT_TTL_MS, service, address, ports, version, weight, zone, labels } = this.spec;
    const lease = await store.lease({ ttlMs });
    try {
      await endpoints.apply(
        {
          name: this.id,
          spec: {
            service,
            address,
            ports: { ...ports },
            weight: weight ?? 1,
            labels: { ...labels },
            ...(version === undefined ? {} : { version }),
            ...(zone === undefined ? {} : { zone }),
          },
          status: { state: this.#state },
        },
        { leaseId: lease.id },
      );
    } catch (error) {
      await lease.revoke().catch(() => {});
      throw error;
    }
    this.#lease = lease;
    return lease;
  }

  /** Waits for the loss of the lease and registers again, until closed. */
  async #keep(first: Lease): Promise<void> {
    let lease = first;
    const { signal } = this.#closed;
    while (!signal.aborted) {
      await either(lease.lost, signal);
      if (signal.aborted) return;
      this.#context.onError?.(
        new HeptadError('LEASE_LOST', `the registration of ${this.id} was lost; registering again`, {
          retryable: true,
        }),
      );
      for (let attempt = 1; !signal.aborted; attempt += 1) {
        try {
          lease = await this.#register();
          break;
        } catch (error) {
          this.#context.onError?.(error);
          const wait = backoffMs(attempt, this.#context.random, REREGISTER);
          await this.#context.clock.sleep(wait, signal).catch(() => {});
        }
      }
    }
  }
}

function either(a: AbortSignal, b: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (a.aborted || b.aborted) return resolve();
    a.addEventListener('abort', () => resolve(), { once: true });
    b.addEventListener('abort', () => resolve(), { once: true });
  });
}
