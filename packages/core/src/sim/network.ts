// SimNetwork: a network that delays, drops, duplicates, reorders and partitions, the same way for the same seed.

import { HeptadError, invalidArgument } from '../errors.ts';
import type { Connection, Listener, Network } from '../ports/network.ts';
import { SimConnection } from './connection.ts';
import type { ProcessClock } from './process-clock.ts';
import type { SeededRandom } from './seeded-random.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** How one direction between two hosts behaves. */
export interface LinkOptions {
  /** Shortest and longest time of a message on its way. Default 1 to 10 ms. */
  readonly minimumDelayMs: number;
  readonly maximumDelayMs: number;
  /** Share of messages lost. A connection sends them again, which shows as delay. Default 0. */
  readonly dropRate: number;
  /** Share of datagrams that arrive twice. Default 0. */
  readonly duplicateRate: number;
  /** Share of messages that are held back ten times longer, so that later ones overtake them. Default 0. */
  readonly reorderRate: number;
}

const DEFAULT_LINK: LinkOptions = {
  minimumDelayMs: 1,
  maximumDelayMs: 10,
  dropRate: 0,
  duplicateRate: 0,
  reorderRate: 0,
};
/** How much longer a held-back message takes. */
const HELD_BACK = 10;
/** A message of a connection that did not get through is sent again after this, as TCP's first retransmission. */
const RETRANSMIT_MS = 200;
/** A connection whose message did not get through for this long is broken. */
const BREAK_AFTER_MS = 10_000;
/** Ports given out by `listen` on port 0 begin here. */
const FIRST_FREE_PORT = 40_000;

type Handler = (connection: Connection) => void;

/**
 * Hosts, links and cuts. Connections keep the port's promise (in order, each once, or broken); datagrams keep none.
 *
 * @example
 * ```ts
 * import { Simulation } from '@heptad/core/sim';
 *
 * const simulation = new Simulation({ seed: 1 });
 * await simulation.run(async () => {
 *   const [a, b] = [simulation.process('a'), simulation.process('b')];
 *   await b.network.listen('b:80', async (connection) => {
 *     for await (const message of connection.receive()) await connection.send(message);
 *   });
 *   const connection = await a.network.dial('b:80');
 *   await connection.send(Buffer.from('hello'));
 *   for await (const echo of connection.receive()) {
 *     console.log(Buffer.from(echo).toString()); // hello
 *     break;
 *   }
 * });
 * ```
 */
export class SimNetwork {
  readonly #clock: VirtualClock;
  readonly #random: SeededRandom;
  readonly #links = new Map<string, LinkOptions>();
  readonly #blocked = new Set<string>();
  readonly #hosts = new Map<string, SimHost>();
  #defaults: LinkOptions;

  constructor(options: { clock: VirtualClock; random: SeededRandom; link?: Partial<LinkOptions> }) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#defaults = { ...DEFAULT_LINK, ...options.link };
  }

  /** A host by its name; made when it is new. `process` is what runs on it. */
  host(name: string, process: ProcessClock): SimHost {
    const host = new SimHost(this, name, process);
    this.#hosts.set(name, host);
    return host;
  }

  /** Changes how messages from one host to another travel; without hosts, all. */
  setLink(link: Partial<LinkOptions>, from?: string, to?: string): void {
    if (from === undefined || to === undefined) {
      this.#defaults = { ...this.#defaults, ...link };
      this.#links.clear();
      return;
    }
    this.#links.set(`${from}>${to}`, { ...this.#linkOf(from, to), ...link });
  }

  /** Nothing gets from a host of the first group to one of the second; nor back, unless it is one-way. */
  partition(one: readonly string[], other: readonly string[], options: { oneWay?: boolean } = {}): void {
    for (const from of one) {
      for (const to of other) {
        if (from === to) continue;
        this.#blocked.add(`${from}>${to}`);
        if (options.oneWay !== true) this.#blocked.add(`${to}>${from}`);
      }
    }
  }

  /** Ends all partitions. */
  heal(): void {
    this.#blocked.clear();
  }

  #linkOf(from: string, to: string): LinkOptions {
    return this.#links.get(`${from}>${to}`) ?? this.#defaults;
  }

  /** @internal */
  hostAt(address: string): { host: SimHost | undefined; port: number } {
    const match = /^(?<name>[^:]+):(?<port>\d{1,5})$/.exec(address);
    if (match?.groups === undefined) {
      throw invalidArgument(`"${address}" is not an address`, 'write host:port, such as node-1:7070');
    }
    return { host: this.#hosts.get(match.groups.name ?? ''), port: Number(match.groups.port) };
  }

  /** @internal Draws whether a message gets through now, and how long it takes. */
  draw(from: string, to: string): { arrives: boolean; delayMs: number } {
    const link = this.#linkOf(from, to);
    const delay = this.#random.between(link.minimumDelayMs, link.maximumDelayMs);
    const delayMs = this.#random.chance(link.reorderRate) ? delay * HELD_BACK : delay;
    const arrives = !this.#random.chance(link.dropRate) && !this.#blocked.has(`${from}>${to}`);
    return { arrives, delayMs };
  }

  /** @internal One datagram: perhaps never, perhaps twice, perhaps after later ones. */
  datagram(from: string, to: string, message: Uint8Array): void {
    const copies = this.#random.chance(this.#linkOf(from, to).duplicateRate) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      const { arrives, delayMs } = this.draw(from, to);
      if (!arrives) continue;
      this.#clock.timer(delayMs, () => {
        // A cut swallows what is on its way, too.
        if (!this.#blocked.has(`${from}>${to}`)) this.#hosts.get(to)?.take(from, message);
      });
    }
  }

  /**
   * @internal Delivers for a connection: again and again until it gets through (`arrived`), or not within
   * {@link BREAK_AFTER_MS} (`gaveUp`).
   */
  insist(from: string, to: string, arrived: () => void, gaveUp: () => void): void {
    const startedAtMs = this.#clock.monotonicMs();
    const attempt = (waitMs: number): void => {
      const { arrives, delayMs } = this.draw(from, to);
      this.#clock.timer(waitMs + delayMs, () => {
        if (arrives && !this.#blocked.has(`${from}>${to}`)) arrived();
        else if (this.#clock.monotonicMs() - startedAtMs >= BREAK_AFTER_MS) gaveUp();
        else attempt(RETRANSMIT_MS);
      });
    };
    attempt(0);
  }
}

/** One host's network: connections as the {@link Network} port says, and datagrams. */
export class SimHost implements Network {
  readonly name: string;
  readonly process: ProcessClock;
  readonly #network: SimNetwork;
  readonly #listeners = new Map<number, Handler>();
  readonly #connections = new Set<SimConnection>();
  #onDatagram: ((from: string, message: Uint8Array) => void) | undefined;
  #nextPort = FIRST_FREE_PORT;
  #up = true;

  constructor(network: SimNetwork, name: string, process: ProcessClock) {
    this.#network = network;
    this.name = name;
    this.process = process;
  }

  async dial(address: string, signal?: AbortSignal): Promise<Connection> {
    signal?.throwIfAborted();
    const { host, port } = this.#network.hostAt(address);
    const failed = (why: string): HeptadError =>
      new HeptadError('CONNECTION_FAILED', `cannot connect to ${address}: ${why}`, { retryable: true });
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal?.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
      // On the process's own time: an abort that fell due before the answer must still find its listener.
      const settle = (run: () => void): void => {
        this.process.whenRunning(() => {
          signal?.removeEventListener('abort', onAbort);
          run();
        });
      };
      const to = host?.name ?? address;
      this.#insist(
        to,
        () => {
          const accept = host?.accepts(port);
          const back = (run: () => void): void => {
            this.#network.insist(
              to,
              this.name,
              () => settle(run),
              () => settle(() => reject(failed('no answer'))),
            );
          };
          if (host === undefined || accept === undefined) {
            back(() => reject(failed('nobody listens there')));
            return;
          }
          const [near, far] = SimConnection.pair(this.#network, this, host);
          host.process.whenRunning(() => accept(far));
          back(() => (signal?.aborted ? near.abort() : resolve(near)));
        },
        () => settle(() => reject(failed('no answer'))),
      );
    });
  }

  #insist(to: string, arrived: () => void, gaveUp: () => void): void {
    this.#network.insist(this.name, to, arrived, gaveUp);
  }

  async listen(address: string, handler: Handler): Promise<Listener> {
    const { host, port } = this.#network.hostAt(address);
    if (host !== this)
      throw invalidArgument(`${this.name} cannot listen on ${address}: it is another host's`);
    const bound = port === 0 ? this.#freePort() : port;
    if (this.#listeners.has(bound)) {
      throw new HeptadError('ADDRESS_IN_USE', `cannot listen on ${address}: somebody does`);
    }
    this.#listeners.set(bound, handler);
    const close = async (): Promise<void> => {
      this.#listeners.delete(bound);
    };
    return { address: `${this.name}:${bound}`, close, [Symbol.asyncDispose]: close };
  }

  #freePort(): number {
    while (this.#listeners.has(this.#nextPort)) this.#nextPort += 1;
    return this.#nextPort;
  }

  /** Sends a datagram to a host: no promise at all. */
  sendDatagram(to: string, message: Uint8Array): void {
    this.#network.datagram(this.name, to, Uint8Array.from(message));
  }

  /** Hears datagrams. */
  onDatagram(handler: (from: string, message: Uint8Array) => void): void {
    this.#onDatagram = handler;
  }

  /** Everything of the process's network ends at once, as when it is killed: peers see broken connections. */
  crash(): void {
    this.#up = false;
    this.#listeners.clear();
    this.#onDatagram = undefined;
    for (const connection of [...this.#connections]) connection.abort();
  }

  /** @internal */
  take(from: string, message: Uint8Array): void {
    this.process.whenRunning(() => this.#onDatagram?.(from, message));
  }

  /** @internal */
  accepts(port: number): Handler | undefined {
    return this.#up ? this.#listeners.get(port) : undefined;
  }

  /** @internal */
  own(connection: SimConnection): void {
    this.#connections.add(connection);
  }

  /** @internal */
  disown(connection: SimConnection): void {
    this.#connections.delete(connection);
  }
}
