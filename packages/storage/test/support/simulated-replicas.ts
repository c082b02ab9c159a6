// Replicas behind a simulated network: messages are delayed, reordered and lost, nodes go away and come back.
import { type Clock, HeptadError, type Random } from '@heptad/core';
import type { ReplicaAccess, ReplicaView, Route, Version } from '../../src/client/replica.ts';
import { type Tag, ZERO_TAG } from '../../src/model/tag.ts';

/** How hostile the network is. */
export interface Weather {
  readonly maxDelayMs: number;
  /** Chance that a request or an answer is lost. */
  readonly loss: number;
  readonly timeoutMs: number;
}

/** A seeded source of chance (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    integer: (bound) => Math.floor(next() * bound),
    bytes: (length) => Uint8Array.from({ length }, () => Math.floor(next() * 256)),
    uuid: () => '00000000-0000-7000-8000-000000000000',
  };
}

/** Durable copies on nodes that only the network can reach. */
export class SimulatedReplicas implements ReplicaAccess {
  readonly #versions = new Map<string, Version>();
  readonly #away = new Set<string>();
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #weather: Weather;

  constructor(clock: Clock, random: Random, weather: Weather) {
    this.#clock = clock;
    this.#random = random;
    this.#weather = weather;
  }

  address(node: string): string {
    return `${node}:1`;
  }

  /** Takes a node away for a while: it neither hears nor answers. */
  leave(node: string): void {
    this.#away.add(node);
  }

  return(node: string): void {
    this.#away.delete(node);
  }

  inspect(node: string, _route: Route): Promise<ReplicaView> {
    return this.#request(node, () => {
      const version = this.#versions.get(node);
      return version === undefined
        ? { tag: ZERO_TAG, corrupt: false }
        : { tag: version.header.tag, header: version.header, corrupt: false };
    });
  }

  read(node: string, _route: Route): Promise<ReplicaView> {
    return this.#request(node, () => {
      const version = this.#versions.get(node);
      return version === undefined
        ? { tag: ZERO_TAG, corrupt: false }
        : { tag: version.header.tag, header: version.header, body: version.body, corrupt: false };
    });
  }

  write(node: string, _route: Route, version: Version): Promise<Tag> {
    return this.#request(node, () => {
      const known = this.#versions.get(node);
      if (known !== undefined && known.header.tag >= version.header.tag) return known.header.tag;
      this.#versions.set(node, version);
      return version.header.tag;
    });
  }

  // The request may arrive although its answer does not, and long after its sender has given up.
  async #request<T>(node: string, work: () => T): Promise<T> {
    const { timeoutMs } = this.#weather;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const timer = this.#clock.timer(timeoutMs, () => reject(new HeptadError('NODE_TIMEOUT', 'no answer')));
    this.#deliver(node, () => {
      const answer = work();
      this.#deliver(node, () => resolve(answer));
    });
    try {
      return await promise;
    } finally {
      timer.cancel();
    }
  }

  #deliver(node: string, arrive: () => void): void {
    const { maxDelayMs, loss } = this.#weather;
    const lost = this.#random.next() < loss;
    // Now and then one is very late: it arrives among messages of operations that began long after it was sent.
    const factor = this.#random.next() < 0.05 ? 50 : 1;
    this.#clock.timer(this.#random.next() * maxDelayMs * factor, () => {
      if (!lost && !this.#away.has(node)) arrive();
    });
  }
}
