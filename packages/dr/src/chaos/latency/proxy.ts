// The userspace delay proxy: a TCP relay whose both directions run through delay lines.

import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Clock, Random } from '@heptad/core';
import { DelayLine, LINE_MAX_BYTES } from './delay-line.ts';

/** Open connections through one proxy; beyond it new ones are reset rather than memory exhausted. */
export const PROXY_MAX_CONNECTIONS = 4096;

/** What one proxy relays and how much it delays. */
export interface DelayProxyOptions {
  readonly upstream: { readonly address: string; readonly port: number };
  /** Address to listen on. */
  readonly listen: string;
  /** Added to each round trip: half on the way there, half on the way back. */
  readonly latencyMs: number;
  readonly jitterMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** What really went through. */
export interface DelayProxyStats {
  readonly connections: number;
  readonly chunks: number;
  /** Mean time a chunk was really held back, milliseconds (one way). */
  readonly meanDelayMs: number;
}

type Piece = Uint8Array | 'end';

/** A TCP relay that delays. Made by {@link DelayProxy.listen}. */
export class DelayProxy {
  readonly #options: DelayProxyOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #lines = new Set<DelayLine<Piece>>();
  #delaying = true;
  #connections = 0;
  #chunks = 0;
  #delaySumMs = 0;

  private constructor(options: DelayProxyOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    this.#server.maxConnections = PROXY_MAX_CONNECTIONS;
  }

  /** Starts a proxy on a free port. */
  static async listen(options: DelayProxyOptions): Promise<DelayProxy> {
    const proxy = new DelayProxy(options);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, options.listen, resolve);
    });
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  stats(): DelayProxyStats {
    return {
      connections: this.#connections,
      chunks: this.#chunks,
      meanDelayMs: this.#chunks === 0 ? 0 : this.#delaySumMs / this.#chunks,
    };
  }

  /** Number of connections that are still open. */
  get open(): number {
    return this.#sockets.size;
  }

  /** From now on passes everything through at once; what waits is delivered now. */
  stopDelaying(): void {
    this.#delaying = false;
    for (const line of this.#lines) line.flush();
  }

  /** Ends every connection and stops listening. */
  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(client: Socket): void {
    const { address, port } = this.#options.upstream;
    this.#connections += 1;
    const upstream = connect({ host: address, port, allowHalfOpen: true, noDelay: true });
    this.#relay(client, upstream);
    this.#relay(upstream, client);
  }

  #relay(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    let waitingBytes = 0;
    const line = new DelayLine<Piece>({
      clock: this.#options.clock,
      random: this.#options.random,
      delayMs: () => (this.#delaying ? this.#options.latencyMs / 2 : 0),
      jitterMs: () => (this.#delaying ? this.#options.jitterMs / 2 : 0),
      deliver: (piece, delayedMs) => {
        if (piece === 'end') {
          to.end();
          return;
        }
        waitingBytes -= piece.length;
        if (to.destroyed) return;
        // Counted only when it can arrive: bytes held back for a peer that refused prove nothing.
        if (!to.connecting) {
          this.#chunks += 1;
          this.#delaySumMs += delayedMs;
        }
        const room = to.write(piece);
        if (!room) {
          from.pause();
          to.once('drain', () => from.resume());
        } else if (waitingBytes < LINE_MAX_BYTES) from.resume();
      },
    });
    this.#lines.add(line);
    from.on('data', (chunk: Uint8Array) => {
      waitingBytes += chunk.length;
      line.push(chunk);
      if (waitingBytes >= LINE_MAX_BYTES) from.pause();
    });
    from.on('end', () => line.push('end'));
    // A broken side breaks the other the same way: the peer must see the reset the real network would show.
    from.on('error', () => to.resetAndDestroy());
    from.on('close', () => {
      this.#sockets.delete(from);
      this.#lines.delete(line);
      if (from.errored) line.drop();
    });
  }
}
