// One request to the Docker-compatible API: its parameters, its body, its answer, and its connection once hijacked.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { sentenceOf, statusOf } from './api-error.ts';
import { truthy } from './filters.ts';

// The largest body is the description of a container with thousands of variables.
const MAX_JSON_BYTES = 16 * 1024 * 1024;
/** The media type of a stream that is no HTTP any more. */
const RAW_STREAM = 'application/vnd.docker.raw-stream';

/** A connection's two directions after HTTP. */
export interface RawConnection {
  /** What the client sends; ends when the client half-closes. */
  readonly input: Readable;
  /** What the client gets. */
  readonly output: Writable;
  /** Aborts when the client is gone. */
  readonly closed: AbortSignal;
}

/** A request. */
export class ApiCall {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** The rest of the connection, when the client asked for an upgrade. */
  private readonly upgrade: { readonly socket: Socket; readonly head: Buffer } | undefined;
  private readonly gone = new AbortController();

  constructor(parts: {
    request: IncomingMessage;
    response: ServerResponse;
    parameters: Readonly<Record<string, string>>;
    query: URLSearchParams;
    upgrade?: { readonly socket: Socket; readonly head: Buffer };
  }) {
    this.request = parts.request;
    this.response = parts.response;
    this.parameters = parts.parameters;
    this.query = parts.query;
    this.upgrade = parts.upgrade;
    this.response.once('close', () => this.gone.abort(new Error('the client is gone')));
  }

  /** Aborts when the client is gone. */
  get closed(): AbortSignal {
    return this.gone.signal;
  }

  /** A parameter of the path. */
  parameter(name: string): string {
    return this.parameters[name] ?? '';
  }

  /** A query parameter that is a truth value in Go's words. */
  flag(name: string, byDefault = false): boolean {
    const text = this.query.get(name);
    return text === null ? byDefault : truthy(text);
  }

  /** A query parameter that is a number; undefined when it is missing or empty. Throws `INVALID_ARGUMENT`. */
  number(name: string): number | undefined {
    const text = this.query.get(name);
    if (text === null || text === '') return undefined;
    const value = Number(text);
    if (Number.isFinite(value)) return value;
    throw new ContainerError('INVALID_ARGUMENT', `query parameter ${name} is not a number: "${text}"`);
  }

  /** The body as JSON that fits the schema. An empty body is `{}`. Throws `INVALID_ARGUMENT`. */
  async json<T>(schema: z.ZodType<T>): Promise<T> {
    const text = (await this.bytes(MAX_JSON_BYTES)).toString('utf8').trim();
    let value: unknown = {};
    try {
      if (text !== '') value = JSON.parse(text);
    } catch (cause) {
      throw new ContainerError('INVALID_ARGUMENT', 'the request body is not JSON', { cause });
    }
    const parsed = schema.safeParse(value ?? {});
    if (parsed.success) return parsed.data;
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot use the request body: ${z.prettifyError(parsed.error)}`,
    );
  }

  /** Answers with JSON. */
  send(status: number, body?: unknown): void {
    if (body === undefined) {
      this.response.writeHead(status);
      this.response.end();
      return;
    }
    const text = `${JSON.stringify(body)}\n`;
    this.response.writeHead(status, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(text),
    });
    this.response.end(text);
  }

  /** Answers with an error; in the middle of a stream it can only be cut off. */
  fail(error: unknown): void {
    if (this.response.headersSent || this.response.socket === null) {
      this.response.destroy();
      return;
    }
    this.send(statusOf(error), { message: sentenceOf(error) });
  }

  /** Begins an answer that is written bit by bit. */
  stream(contentType: string, headers: Readonly<Record<string, string>> = {}): ServerResponse {
    this.response.writeHead(200, { 'Content-Type': contentType, ...headers });
    this.response.flushHeaders();
    return this.response;
  }

  /** Answers with bytes as they come; waits for a slow client. */
  async pipe(content: AsyncIterable<Uint8Array>, contentType: string): Promise<void> {
    const iterator = content[Symbol.asyncIterator]();
    // The first piece decides whether there is anything to answer with, while a status can still say no.
    let next = await iterator.next();
    this.stream(contentType);
    try {
      for (; next.done !== true; next = await iterator.next()) {
        if (!(await writeTo(this.response, next.value))) break;
      }
      this.response.end();
    } finally {
      await iterator.return?.();
    }
  }

  /** What comes as the body. */
  body(): Readable {
    return this.request;
  }

  /**
   * Takes the connection out of HTTP: with `101 UPGRADED` for clients that asked for it; else output is the answer's
   * body and input the request's, for clients that cannot upgrade.
   */
  hijack(multiplexed: boolean): RawConnection {
    if (this.upgrade === undefined) {
      this.response.writeHead(200, { 'Content-Type': RAW_STREAM });
      this.response.flushHeaders();
      return { input: this.request, output: this.response, closed: this.closed };
    }
    const { socket } = this.upgrade;
    this.response.detachSocket(socket);
    const type = multiplexed ? RAW_STREAM : RAW_STREAM;
    socket.write(
      `HTTP/1.1 101 UPGRADED\r\nContent-Type: ${type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`,
    );
    const closed = new AbortController();
    socket.once('close', () => closed.abort(new Error('the client is gone')));
    // Back-pressure alone tells nothing of a client that died: its error must be heard.
    socket.on('error', () => undefined);
    const input = new PassThrough();
    if (this.rest.length > 0) input.write(this.rest);
    socket.pipe(input);
    socket.once('close', () => input.end());
    return { input, output: socket, closed: closed.signal };
  }

  private rest: Buffer = Buffer.alloc(0);

  private async bytes(limit: number): Promise<Buffer> {
    const length = Number(this.request.headers['content-length'] ?? 0);
    if (length > limit) throw tooLarge(limit);
    if (this.upgrade !== undefined)
      return await this.upgradeBody(this.upgrade.socket, this.upgrade.head, length);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of this.request) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > limit) throw tooLarge(limit);
    }
    return Buffer.concat(chunks);
  }

  /** The body of a request with an upgrade: Node leaves it in the stream, where what follows is input already. */
  private async upgradeBody(socket: Socket, head: Buffer, length: number): Promise<Buffer> {
    let bytes = head;
    while (bytes.length < length) {
      const chunk = await nextChunk(socket);
      if (chunk === undefined) throw new ContainerError('INVALID_ARGUMENT', 'the request body was cut off');
      bytes = Buffer.concat([bytes, chunk]);
    }
    this.rest = bytes.subarray(length);
    return bytes.subarray(0, length);
  }
}

function tooLarge(limit: number): ContainerError {
  return new ContainerError('LIMIT_EXCEEDED', `the request body is larger than ${limit} bytes`);
}

function nextChunk(socket: Socket): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const done = (chunk?: Buffer): void => {
      socket.pause();
      socket.off('data', done);
      socket.off('end', ended);
      socket.off('close', ended);
      resolve(chunk);
    };
    const ended = (): void => done();
    socket.once('data', done);
    socket.once('end', ended);
    socket.once('close', ended);
    socket.resume();
  });
}

/** Writes, and waits until there is room for more; false when the reader is gone. */
export async function writeTo(target: Writable, bytes: Uint8Array | string): Promise<boolean> {
  if (target.destroyed || target.writableEnded) return false;
  if (target.write(bytes)) return true;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      target.off('drain', done);
      target.off('close', done);
      target.off('error', done);
      resolve();
    };
    target.once('drain', done);
    target.once('close', done);
    target.once('error', done);
  });
  return !target.destroyed;
}
