// HTTP to a Docker Engine over its Unix socket: requests, streams and hijacked connections, with coded errors.

import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { createConnection, type Socket } from 'node:net';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ContainerError } from '../errors.ts';
import { connectionError, responseError } from './failure.ts';
import { agreeOnApi } from './version.ts';

// Answers of the engine are descriptions of containers and images; 64 MiB is thousands of them.
const MAX_JSON_BYTES = 64 * 1024 * 1024;
// What an error response says is one sentence.
const MAX_ERROR_BYTES = 64 * 1024;

/** A request to the engine. */
export interface DockerRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  /** Without the version: `/containers/json`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is. */
  readonly body?: AsyncIterable<Uint8Array> | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** What the request is for, as in "start container web"; begins every error. */
  readonly doing: string;
}

/** A connection that stopped being HTTP: both directions are streams, and each can end on its own. */
export interface HijackedStream {
  readonly socket: Socket;
  /** What the other side sends. */
  readonly output: Readable;
}

/** One Docker Engine. Every request opens its own connection, so that a stalled stream holds up nobody. */
export class DockerConnection {
  readonly socketPath: string;
  private version: Promise<string> | undefined;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  /** The API version agreed with the engine; asked for once, and again after a failure. */
  async apiVersion(): Promise<string> {
    this.version ??= this.negotiate();
    try {
      return await this.version;
    } catch (error) {
      this.version = undefined;
      throw error;
    }
  }

  /** The answer's JSON; undefined when it has none. */
  async json(request: DockerRequest): Promise<unknown> {
    const response = await this.stream(request);
    const text = await readAll(response, MAX_JSON_BYTES, request.doing);
    if (text === '') return undefined;
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new ContainerError('RUNTIME_FAILED', `cannot ${request.doing}: Docker's answer is not JSON`, {
        cause,
      });
    }
  }

  /** The answer as a stream, once its status is known to be good. Destroying it ends the request. */
  async stream(request: DockerRequest): Promise<IncomingMessage> {
    const response = await this.send(await this.versioned(request.path), request);
    const status = response.statusCode ?? 0;
    if (status < 300) return response;
    throw await this.failure(request, response);
  }

  /** The status of the answer, for requests that tell something by it (304: nothing to do). */
  async status(request: DockerRequest): Promise<number> {
    const response = await this.send(await this.versioned(request.path), request);
    const status = response.statusCode ?? 0;
    if (status >= 400) throw await this.failure(request, response);
    response.resume();
    return status;
  }

  /**
   * Turns the connection of a request into a raw stream. Ending the socket's writable side tells the other side that
   * the input is over while its output goes on.
   */
  async hijack(request: DockerRequest): Promise<HijackedStream> {
    const path = await this.versioned(request.path);
    return await new Promise((resolve, reject) => {
      const outgoing = this.open(path, request, { Connection: 'Upgrade', Upgrade: 'tcp' });
      outgoing.once('upgrade', (_response, socket: Socket, head) => {
        const output = new PassThrough();
        if (head.length > 0) output.write(head);
        // The end of a stream that was cut is the caller's to judge; here it only must not go unheard.
        pipeline(socket, output).then(
          () => socket.end(),
          (error: Error) => output.destroy(error),
        );
        resolve({ socket, output });
      });
      outgoing.once('response', (response) => {
        this.failure(request, response).then(reject, reject);
      });
      outgoing.once('error', (error) => reject(connectionError(error, this.socketPath, request)));
      finish(outgoing, request, reject);
    });
  }

  private async versioned(path: string): Promise<string> {
    return `/v${await this.apiVersion()}${path}`;
  }

  private async negotiate(): Promise<string> {
    const doing = 'ask Docker for its API version';
    const response = await this.send('/_ping', { method: 'GET', path: '/_ping', doing });
    response.resume();
    const newest = response.headers['api-version'];
    if ((response.statusCode ?? 500) >= 300 || typeof newest !== 'string') {
      throw new ContainerError(
        'RUNTIME_UNAVAILABLE',
        `cannot use ${this.socketPath}: what answers there is not a Docker Engine (status ${response.statusCode})`,
      );
    }
    const version = await this.send('/version', { method: 'GET', path: '/version', doing });
    const told: unknown = JSON.parse(await readAll(version, MAX_JSON_BYTES, doing));
    const oldest =
      typeof told === 'object' && told !== null && 'MinAPIVersion' in told ? told.MinAPIVersion : undefined;
    return agreeOnApi({ newest, ...(typeof oldest === 'string' && oldest !== '' ? { oldest } : {}) });
  }

  private send(path: string, request: DockerRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const outgoing = this.open(path, request, {});
      outgoing.once('response', (response) => {
        // Heard here, so that a connection cut in the middle of a stream ends its reader and not the process.
        response.on('error', () => undefined);
        resolve(response);
      });
      outgoing.on('error', (error) => reject(connectionError(error, this.socketPath, request)));
      finish(outgoing, request, reject);
    });
  }

  private open(path: string, request: DockerRequest, headers: Record<string, string>): ClientRequest {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) query.set(name, String(value));
    }
    const text = query.size === 0 ? path : `${path}?${query}`;
    const body = request.json === undefined ? request.body : Buffer.from(JSON.stringify(request.json));
    const length = body instanceof Uint8Array ? { 'Content-Length': String(body.length) } : {};
    return httpRequest({
      method: request.method,
      path: text,
      // Without it Node closes our side as soon as the other has said its last: input still under way would be lost.
      createConnection: () => createConnection({ path: this.socketPath, allowHalfOpen: true }),
      headers: {
        Host: 'docker',
        ...(request.json === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...length,
        ...request.headers,
        ...headers,
      },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
  }

  private async failure(request: DockerRequest, response: IncomingMessage): Promise<ContainerError> {
    const status = response.statusCode ?? 0;
    const text = await readAll(response, MAX_ERROR_BYTES, request.doing).catch(() => '');
    // An engine that was updated under us may refuse the version of before: the next request asks again.
    if (status === 400 && /client version .* is too (old|new)/.test(text)) this.version = undefined;
    return responseError(status, text, request.doing);
  }
}

function finish(outgoing: ClientRequest, request: DockerRequest, reject: (error: unknown) => void): void {
  const body = request.json === undefined ? request.body : Buffer.from(JSON.stringify(request.json));
  if (body === undefined || body instanceof Uint8Array) outgoing.end(body);
  // The engine may answer with an error before it has read everything: the answer then says why, not our broken pipe.
  else
    pipeline(body, outgoing).catch((error: unknown) => (outgoing.writableEnded ? undefined : reject(error)));
}

/** All of a response as text. Throws `LIMIT_EXCEEDED` beyond `maxBytes`. */
export async function readAll(response: Readable, maxBytes: number, doing: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > maxBytes) {
      response.destroy();
      throw new ContainerError(
        'LIMIT_EXCEEDED',
        `cannot ${doing}: the answer is larger than ${maxBytes} bytes`,
      );
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}
