// One end of a simulated connection: messages in order, each once, or a broken connection.

import { HeptadError } from '../errors.ts';
import type { Connection } from '../ports/network.ts';
import type { SimHost, SimNetwork } from './network.ts';

/** See {@link Connection}; made by dialling in a `SimNetwork`. */
export class SimConnection implements Connection {
  readonly remote: string;
  readonly #network: SimNetwork;
  readonly #host: SimHost;
  readonly #peerHost: SimHost;
  readonly #inbox: Uint8Array[] = [];
  /** What is sent waits here for what was sent before it: the first is on its way. */
  readonly #outbox: (() => void)[] = [];
  #peer: SimConnection | undefined;
  #state: 'open' | 'ended' | 'broken' = 'open';
  #closedHere = false;
  #sending = false;
  #wake: (() => void) | undefined;

  private constructor(network: SimNetwork, host: SimHost, peerHost: SimHost) {
    this.#network = network;
    this.#host = host;
    this.#peerHost = peerHost;
    this.remote = peerHost.name;
    host.own(this);
  }

  /** Both ends of a new connection: the dialling one, the accepting one. */
  static pair(network: SimNetwork, from: SimHost, to: SimHost): [SimConnection, SimConnection] {
    const near = new SimConnection(network, from, to);
    const far = new SimConnection(network, to, from);
    near.#peer = far;
    far.#peer = near;
    return [near, far];
  }

  send(message: Uint8Array): Promise<void> {
    if (this.#state === 'broken' || this.#closedHere) return Promise.reject(this.#brokenError());
    const copy = Uint8Array.from(message);
    this.#transmit(() => this.#peer?.arrive(copy));
    return Promise.resolve();
  }

  /** Hands the next piece to the network once the one before it has arrived: that keeps the order. */
  #transmit(arrived: () => void): void {
    this.#outbox.push(arrived);
    if (!this.#sending) this.#pump();
  }

  #pump(): void {
    const next = this.#outbox.shift();
    if (next === undefined || this.#state === 'broken') {
      this.#sending = false;
      return;
    }
    this.#sending = true;
    this.#network.insist(
      this.#host.name,
      this.#peerHost.name,
      () => {
        next();
        this.#pump();
      },
      () => this.#break(),
    );
  }

  /** @internal */
  arrive(message: Uint8Array): void {
    this.#host.process.whenRunning(() => {
      if (this.#state !== 'open') return;
      this.#inbox.push(message);
      this.#wake?.();
    });
  }

  /** @internal The other side closed. */
  end(): void {
    this.#host.process.whenRunning(() => {
      if (this.#state === 'open') this.#state = 'ended';
      this.#host.disown(this);
      this.#wake?.();
    });
  }

  /** Breaks this end; the other learns of it if the network lets it. */
  abort(): void {
    if (this.#state === 'broken') return;
    this.#break();
    const peer = this.#peer;
    if (peer === undefined) return;
    this.#network.insist(
      this.#host.name,
      this.#peerHost.name,
      () => peer.reset(),
      () => {},
    );
  }

  /** @internal */
  reset(): void {
    this.#host.process.whenRunning(() => this.#break());
  }

  #break(): void {
    if (this.#state === 'broken') return;
    this.#state = 'broken';
    this.#outbox.length = 0;
    this.#host.disown(this);
    this.#host.process.whenRunning(() => this.#wake?.());
  }

  #brokenError(): HeptadError {
    return new HeptadError('CONNECTION_BROKEN', `the connection to ${this.remote} is broken`, {
      retryable: true,
    });
  }

  async *receive(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const message = this.#inbox.shift();
      if (message !== undefined) {
        yield message;
        continue;
      }
      if (this.#closedHere || this.#state === 'ended') return;
      if (this.#state === 'broken') throw this.#brokenError();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async close(): Promise<void> {
    if (this.#closedHere) return;
    this.#closedHere = true;
    if (this.#state === 'open') this.#transmit(() => this.#peer?.end());
    this.#host.disown(this);
    this.#wake?.();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
