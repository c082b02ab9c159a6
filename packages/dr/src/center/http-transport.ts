// Calls over HTTP: POST /dr/v1/<method> with a JSON body, signed with the centres' shared secret.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { type Clock, errorMessage, HeptadError, isHeptadError } from '@heptad/core';
import { z } from 'zod';
import type { CallHandler, Endpoint, Transport } from './transport.ts';

/** A batch of entries holds a few large transactions, and JSON may swell them; a larger body is an attack or a mistake. */
export const BODY_MAX_BYTES: number = 32 * 1024 * 1024;
/** Sockets kept per centre: heartbeats, votes and replication side by side. */
const SOCKETS_PER_CENTER = 16;
const PATH = '/dr/v1/';
const SIGNATURE = 'x-heptad-signature';

const problemSchema = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
  retryable: z.boolean().default(false),
  details: z.record(z.string(), z.unknown()).default({}),
});

/** How to call over HTTP. */
export interface HttpTransportOptions {
  readonly clock: Clock;
  /**
   * Shared by all centres and their clients; every request carries an HMAC-SHA256 over method and body. Without one,
   * whoever reaches the port can vote and write: only for loopback.
   */
  readonly secret?: string;
}

/** Calls over HTTP/1.1 with kept connections. */
export class HttpTransport implements Transport {
  readonly #clock: Clock;
  readonly #secret: string | undefined;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: SOCKETS_PER_CENTER });

  constructor(options: HttpTransportOptions) {
    this.#clock = options.clock;
    this.#secret = options.secret;
  }

  async call(
    address: string,
    method: string,
    message: unknown,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<unknown> {
    const body = JSON.stringify(message);
    const { status, text } = await this.#send(address, method, body, options);
    const value: unknown = text === '' ? undefined : JSON.parse(text);
    if (status === 200) return value;
    const problem = problemSchema.safeParse(value);
    if (!problem.success) {
      throw new HeptadError('UNKNOWN_OUTCOME', `${address} answered ${method} with status ${status}`);
    }
    const { code, message: said, hint, ...rest } = problem.data;
    throw new HeptadError(code, said, { ...rest, ...(hint === undefined ? {} : { hint }) });
  }

  #send(
    address: string,
    method: string,
    body: string,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      let connected = false;
      const outgoing = request(`http://${address}${PATH}${method}`, {
        method: 'POST',
        agent: this.#agent,
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          ...this.#signature(method, body),
        },
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
      const fail = (cause: unknown): void => {
        timer.cancel();
        // Before the connection stood, nothing can have been received; afterwards nobody knows.
        reject(
          connected
            ? new HeptadError(
                'UNKNOWN_OUTCOME',
                `no answer to ${method} from ${address}: ${errorMessage(cause)}`,
                { cause },
              )
            : new HeptadError(
                'UNREACHABLE',
                `cannot reach ${address} for ${method}: ${errorMessage(cause)}`,
                {
                  cause,
                  retryable: true,
                },
              ),
        );
      };
      const timer = this.#clock.timer(options.timeoutMs, () => {
        outgoing.destroy(new Error(`no answer within ${options.timeoutMs} ms`));
      });
      outgoing.on('socket', (socket) => {
        if (!socket.connecting) connected = true;
        else
          socket.once('connect', () => {
            connected = true;
          });
      });
      outgoing.on('error', fail);
      outgoing.on('response', (response) => {
        readBody(response).then((text) => {
          timer.cancel();
          resolve({ status: response.statusCode ?? 0, text });
        }, fail);
      });
      outgoing.end(body);
    });
  }

  #signature(method: string, body: string): Record<string, string> {
    if (this.#secret === undefined) return {};
    return { [SIGNATURE]: createHmac('sha256', this.#secret).update(`${method}\n${body}`).digest('hex') };
  }

  #genuine(method: string, body: string, signature: string | string[] | undefined): boolean {
    const expected = this.#signature(method, body)[SIGNATURE];
    if (expected === undefined) return true;
    const given = Buffer.from(String(signature ?? ''));
    return given.length === expected.length && timingSafeEqual(given, Buffer.from(expected));
  }

  async serve(address: string, handler: CallHandler): Promise<Endpoint> {
    const separator = address.lastIndexOf(':');
    const host = address.slice(0, separator).replaceAll(/[[\]]/g, '');
    const server = createServer((incoming, outgoing) => {
      this.#answer(incoming, outgoing, handler).catch(() => outgoing.destroy());
    });
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) =>
        reject(
          new HeptadError('LISTEN_FAILED', `cannot listen on ${address}: ${cause.message}`, {
            cause,
            hint: 'choose another address, or end the process that holds this one',
          }),
        ),
      );
      server.listen(Number(address.slice(separator + 1)), host, resolve);
    });
    const bound = server.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
    return {
      address: `${address.slice(0, separator)}:${port}`,
      [Symbol.asyncDispose]: async () => {
        this.#agent.destroy();
        server.closeAllConnections();
        await new Promise<void>((resolve) => server.close(() => resolve()));
      },
    };
  }

  async #answer(incoming: IncomingMessage, outgoing: ServerResponse, handler: CallHandler): Promise<void> {
    const reply = (status: number, value: unknown): void => {
      outgoing.writeHead(status, { 'content-type': 'application/json' });
      outgoing.end(JSON.stringify(value ?? null));
    };
    try {
      const path = incoming.url ?? '';
      if (incoming.method !== 'POST' || !path.startsWith(PATH)) {
        return reply(404, new HeptadError('NOT_FOUND', `${incoming.method} ${path} is not served here`));
      }
      const method = path.slice(PATH.length);
      const body = await readBody(incoming);
      if (!this.#genuine(method, body, incoming.headers[SIGNATURE])) {
        return reply(
          401,
          new HeptadError('UNAUTHENTICATED', `refused ${method}: its signature is wrong or missing`),
        );
      }
      reply(200, await handler(method, JSON.parse(body)));
    } catch (error) {
      reply(isHeptadError(error) ? 409 : 500, isHeptadError(error) ? error : unexpected(error));
    }
  }
}

function unexpected(error: unknown): HeptadError<string> {
  if (error instanceof z.ZodError) return new HeptadError('INVALID_ARGUMENT', z.prettifyError(error));
  if (error instanceof SyntaxError) return new HeptadError('INVALID_ARGUMENT', 'the body is not JSON');
  // It broke in the middle of acting: the caller must not conclude that nothing happened.
  return new HeptadError('UNKNOWN_OUTCOME', `it failed inside: ${errorMessage(error)}`);
}

async function readBody(stream: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > BODY_MAX_BYTES) {
      throw new HeptadError('REQUEST_TOO_LARGE', `the body exceeds ${BODY_MAX_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
