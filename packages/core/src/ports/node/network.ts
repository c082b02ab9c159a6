// The real network: length-framed messages over TCP behind the Network port.

import { type AddressInfo, createServer, type Socket, connect as tcpConnect } from 'node:net';
import { HeptadError, invalidArgument } from '../../errors.ts';
import type { Connection, Listener, Network } from '../network.ts';

/** Frames: 4 bytes big-endian length, then the message. */
const HEADER_BYTES = 4;
/** A peer that announces more than this is broken or hostile; the connection ends. */
const MAXIMUM_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Received and not yet consumed; beyond it the socket is paused, so that TCP slows the sender. */
const MAXIMUM_QUEUED_BYTES = 4 * 1024 * 1024;

function parseAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[(?<six>[^\]]+)\]|(?<host>[^:]+)):(?<port>\d{1,5})$/.exec(address);
  const host = match?.groups?.six ?? match?.groups?.host;
  const port = Number(match?.groups?.port);
  if (host === undefined || port > 65_535) {
    throw invalidArgument(
      `"${address}" is not an address`,
      'write host:port, such as 127.0.0.1:7070 or [::1]:7070',
    );
  }
  return { host, port };
}

function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function broken(remote: string, cause?: unknown): HeptadError {
  return new HeptadError('CONNECTION_BROKEN', `the connection to ${remote} broke`, {
    cause,
    retryable: true,
    details: { remote },
  });
}

class TcpConnection implements Connection {
  readonly remote: string;
  readonly #socket: Socket;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #ended = false;
  #failure: HeptadError | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.remote = formatAddress(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0);
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('end', () => this.#finish());
    socket.on('error', (error) => this.#fail(broken(this.remote, error)));
    socket.on('close', () => this.#finish());
  }

  #take(chunk: Buffer): void {
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    while (this.#pendingBytes >= HEADER_BYTES) {
      if ((this.#pending[0]?.length ?? 0) < HEADER_BYTES) this.#pending = [Buffer.concat(this.#pending)];
      const length = this.#pending[0]?.readUInt32BE(0) ?? 0;
      if (length > MAXIMUM_MESSAGE_BYTES) {
        this.#fail(broken(this.remote, new Error(`a message of ${length} bytes was announced`)));
        this.#socket.destroy();
        return;
      }
      if (this.#pendingBytes < HEADER_BYTES + length) break;
      const all = Buffer.concat(this.#pending);
      this.#queue.push(new Uint8Array(all.subarray(HEADER_BYTES, HEADER_BYTES + length)));
      this.#queuedBytes += length;
      const rest = all.subarray(HEADER_BYTES + length);
      this.#pending = rest.length === 0 ? [] : [rest];
      this.#pendingBytes = rest.length;
    }
    if (this.#queuedBytes > MAXIMUM_QUEUED_BYTES) this.#socket.pause();
    this.#wake?.();
  }

  #finish(): void {
    // Half a frame at the end is a cut connection, not a close.
    if (this.#pendingBytes > 0) this.#failure ??= broken(this.remote);
    this.#ended = true;
    this.#wake?.();
  }

  #fail(failure: HeptadError): void {
    this.#failure ??= failure;
    this.#ended = true;
    this.#wake?.();
  }

  send(message: Uint8Array): Promise<void> {
    if (message.length > MAXIMUM_MESSAGE_BYTES) {
      return Promise.reject(
        invalidArgument(
          `cannot send ${message.length} bytes to ${this.remote}: at most ${MAXIMUM_MESSAGE_BYTES}`,
        ),
      );
    }
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32BE(message.length);
    return new Promise((resolve, reject) => {
      this.#socket.write(Buffer.concat([header, message]), (error) => {
        if (error) reject(broken(this.remote, error));
        else resolve();
      });
    });
  }

  async *receive(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const message = this.#queue.shift();
      if (message !== undefined) {
        this.#queuedBytes -= message.length;
        if (this.#queuedBytes <= MAXIMUM_QUEUED_BYTES) this.#socket.resume();
        yield message;
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async close(): Promise<void> {
    if (this.#socket.destroyed) return;
    await new Promise<void>((resolve) => {
      this.#socket.once('close', () => resolve());
      // Everything sent goes out first; then we do not wait for the other side to close too.
      this.#socket.end(() => this.#socket.destroy());
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function dial(address: string, signal?: AbortSignal): Promise<Connection> {
  const { host, port } = parseAddress(address);
  signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    const socket = tcpConnect({ host, port });
    const onAbort = (): void => {
      socket.destroy();
      reject(signal?.reason);
    };
    const onError = (error: Error): void => {
      signal?.removeEventListener('abort', onAbort);
      reject(
        new HeptadError('CONNECTION_FAILED', `cannot connect to ${address}: ${error.message}`, {
          cause: error,
          retryable: true,
          hint: 'check that something listens there and that no firewall is between',
          details: { address },
        }),
      );
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.off('error', onError);
      signal?.removeEventListener('abort', onAbort);
      resolve(new TcpConnection(socket));
    });
  });
}

async function listen(address: string, handler: (connection: Connection) => void): Promise<Listener> {
  const { host, port } = parseAddress(address);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    handler(new TcpConnection(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      const inUse = 'code' in error && error.code === 'EADDRINUSE';
      reject(
        new HeptadError(
          inUse ? 'ADDRESS_IN_USE' : 'LISTEN_FAILED',
          `cannot listen on ${address}: ${error.message}`,
          {
            cause: error,
            details: { address },
            ...(inUse ? { hint: `stop what listens on port ${port}, or choose another port` } : {}),
          },
        ),
      );
    });
    server.listen({ host, port }, resolve);
  });
  const bound = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  return { address: formatAddress(bound.address, bound.port), close, [Symbol.asyncDispose]: close };
}

/**
 * TCP with length-framed messages of at most 16 MiB. `listen` on port 0 takes a free one; see `Listener.address`.
 *
 * Errors: `CONNECTION_FAILED`, `CONNECTION_BROKEN`, `ADDRESS_IN_USE`, `LISTEN_FAILED`.
 */
export const nodeNetwork: Network = { dial, listen };
