// UpstreamConnection: one TCP connection to an endpoint, used by one exchange at a time.

import { connect, type Socket } from 'node:net';

/** Who uses a connection now. */
export interface UpstreamUser {
  upstreamConnected(): void;
  upstreamData(bytes: Buffer): void;
  upstreamDrain(): void;
  /** The connection is gone; `error` is absent for an orderly end. Called once. */
  upstreamClosed(error: Error | undefined): void;
}

/** Keeps a path's connection state alive through middleboxes and finds dead peers under long tunnels. */
const TCP_KEEPALIVE_MS = 60_000;

/** A connection that reports to its present user; bytes or an end while it has none make it useless. */
export class UpstreamConnection {
  readonly socket: Socket;
  /** It has served a request before: an end without an answer may be the idle race. */
  reused = false;
  connected = false;
  closed = false;
  /** Monotonic time after which it must not be reused. */
  idleUntil = 0;
  #user: UpstreamUser | undefined;
  #error: Error | undefined;
  readonly #onIdleClosed: (connection: UpstreamConnection) => void;

  constructor(
    address: string,
    port: number,
    user: UpstreamUser,
    onIdleClosed: (c: UpstreamConnection) => void,
  ) {
    this.#user = user;
    this.#onIdleClosed = onIdleClosed;
    const socket = connect({ host: address, port, noDelay: true, allowHalfOpen: true });
    this.socket = socket;
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    socket.on('connect', () => {
      this.connected = true;
      this.#user?.upstreamConnected();
    });
    socket.on('data', (bytes: Buffer) => {
      // An answer nobody asked for must never be taken for the next request's.
      if (this.#user === undefined) this.destroy();
      else this.#user.upstreamData(bytes);
    });
    socket.on('drain', () => this.#user?.upstreamDrain());
    socket.on('end', () => this.#gone());
    socket.on('error', (error) => {
      this.#error = error;
    });
    socket.on('close', () => this.#gone());
  }

  /** Hands an idle connection to its next user. */
  lend(user: UpstreamUser): void {
    this.#user = user;
    this.reused = true;
    if (this.socket.isPaused()) this.socket.resume();
  }

  /** Takes it from its user, who hears nothing more. */
  detach(): void {
    this.#user = undefined;
  }

  /** Gives the bare socket away for a tunnel; this object is done. */
  surrender(): Socket {
    this.#user = undefined;
    this.closed = true;
    this.socket.removeAllListeners('data');
    this.socket.removeAllListeners('drain');
    this.socket.removeAllListeners('end');
    return this.socket;
  }

  /** Ends it without telling anybody. */
  destroy(): void {
    this.#user = undefined;
    this.#gone();
    this.socket.destroy();
  }

  #gone(): void {
    if (this.closed) return;
    this.closed = true;
    const user = this.#user;
    this.#user = undefined;
    if (user === undefined) {
      this.#onIdleClosed(this);
      this.socket.destroy();
      return;
    }
    user.upstreamClosed(this.#error);
    // After an end the reading is over; an exchange has no use for the other half.
    this.socket.destroy();
  }
}
