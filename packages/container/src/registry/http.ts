// One HTTP exchange with a registry: redirects followed without taking credentials along, every failure named.

import type { Readable } from 'node:stream';
import { getCACertificates } from 'node:tls';
import { Agent, request } from 'undici';
import { ContainerError, errnoOf } from '../errors.ts';
import { isLoopback } from './location.ts';

/** What is sent. A stream is given as a function, because a request may have to be sent again. */
export type RequestBody = Uint8Array | (() => Readable);

/** One request. */
export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: RequestBody;
  readonly signal?: AbortSignal | undefined;
}

/** The answer. Its body must be read or discarded, or the connection is lost. */
export interface HttpResponse {
  readonly status: number;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  /** The first value of a header, by its lower-case name. */
  header(name: string): string | undefined;
  readonly body: Readable;
  /** The whole body. Throws `LIMIT_EXCEEDED` when it is larger. */
  bytes(maxBytes: number): Promise<Uint8Array>;
  /** Gives up the body. */
  discard(): void;
}

/** How the client connects. */
export interface HttpOptions {
  /** PEM certificates trusted beside those of Node and of the system. */
  readonly ca?: string | Uint8Array;
  /** Speak plain HTTP to hosts that are not this machine. */
  readonly plainHttp: boolean;
  /** Longest silence: while connecting, before the answer, and between two pieces of it. Milliseconds. */
  readonly timeoutMs: number;
}

// As many as browsers follow for downloads; a registry needs one or two.
const MAX_REDIRECTS = 10;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const USER_AGENT = 'heptad-container';

/** Connections to registries, kept open between requests. */
export class HttpClient implements AsyncDisposable {
  private readonly options: HttpOptions;
  private agent: Agent | undefined;

  constructor(options: HttpOptions) {
    this.options = options;
  }

  /** Sends a request and follows redirects; any status is an answer. Throws `REGISTRY_UNREACHABLE`, `REGISTRY_UNTRUSTED`, `PLAIN_HTTP_REFUSED`. */
  async send(sent: HttpRequest): Promise<HttpResponse> {
    let current = sent;
    for (let hop = 0; ; hop += 1) {
      const response = await this.exchange(current);
      const location = response.header('location');
      if (!REDIRECTS.has(response.status) || location === undefined) return response;
      response.discard();
      if (hop === MAX_REDIRECTS) {
        throw new ContainerError(
          'REGISTRY_FAILED',
          `cannot ${sent.method} ${place(sent.url)}: more than ${MAX_REDIRECTS} redirects`,
        );
      }
      current = redirected(current, response.status, location);
    }
  }

  /** Closes the connections. */
  async close(): Promise<void> {
    await this.agent?.destroy();
    this.agent = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async exchange(sent: HttpRequest): Promise<HttpResponse> {
    const { method, url, signal } = sent;
    signal?.throwIfAborted();
    this.requireAllowed(url);
    const body = typeof sent.body === 'function' ? sent.body() : sent.body;
    try {
      const answer = await request(url, {
        method,
        headers: { 'user-agent': USER_AGENT, ...sent.headers },
        dispatcher: this.connections(),
        ...(body === undefined ? {} : { body }),
        ...(signal === undefined ? {} : { signal }),
      });
      return new Response(answer.statusCode, url, answer.headers, answer.body);
    } catch (error) {
      signal?.throwIfAborted();
      throw transportError(error, url);
    }
  }

  private requireAllowed(url: URL): void {
    if (url.protocol === 'https:') return;
    if (url.protocol === 'http:' && (this.options.plainHttp || isLoopback(url.hostname))) return;
    throw plainHttpRefused(url);
  }

  private connections(): Agent {
    const { ca, timeoutMs } = this.options;
    this.agent ??= new Agent({
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connect: { timeout: timeoutMs, ca: trusted(ca) },
    });
    return this.agent;
  }
}

/** An administrator's own CA is in the system's store, which Node does not read by itself. */
function trusted(ca: string | Uint8Array | undefined): string[] {
  const extra = ca === undefined ? [] : [typeof ca === 'string' ? ca : Buffer.from(ca).toString('utf8')];
  return [...new Set([...getCACertificates('default'), ...getCACertificates('system'), ...extra])];
}

class Response implements HttpResponse {
  readonly status: number;
  readonly url: URL;
  readonly body: Readable;
  private readonly headers: Readonly<Record<string, string | string[] | undefined>>;

  constructor(
    status: number,
    url: URL,
    headers: Readonly<Record<string, string | string[] | undefined>>,
    body: Readable,
  ) {
    this.status = status;
    this.url = url;
    this.headers = headers;
    this.body = body;
  }

  header(name: string): string | undefined {
    const value = this.headers[name];
    // Several WWW-Authenticate or Link lines mean the same as one with commas.
    return typeof value === 'string' || value === undefined ? value : value.join(', ');
  }

  async bytes(maxBytes: number): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      for await (const chunk of this.body) {
        const piece: Uint8Array = chunk;
        size += piece.length;
        if (size > maxBytes) {
          throw new ContainerError(
            'LIMIT_EXCEEDED',
            `refused the answer of ${place(this.url)}: it is larger than ${maxBytes} bytes`,
          );
        }
        chunks.push(piece);
      }
    } catch (error) {
      throw error instanceof ContainerError ? error : transportError(error, this.url);
    }
    return Buffer.concat(chunks);
  }

  discard(): void {
    this.body.on('error', () => undefined);
    this.body.destroy();
  }
}

function redirected(sent: HttpRequest, status: number, location: string): HttpRequest {
  let url: URL;
  try {
    url = new URL(location, sent.url);
  } catch (cause) {
    throw new ContainerError(
      'REGISTRY_FAILED',
      `${place(sent.url)} redirects to something that is no address`,
      {
        cause,
      },
    );
  }
  const headers: Record<string, string> = { ...sent.headers };
  // Credentials are for the host they were given for; storage behind a registry signs its own addresses.
  if (url.origin !== sent.url.origin) delete headers.authorization;
  const { method, body, signal } = sent;
  // 301 to 303 turn other methods into GET, as browsers and Go do; 307 and 308 repeat the request as it was.
  if (status >= 307 || method === 'GET' || method === 'HEAD')
    return { method, url, headers, signal, ...(body === undefined ? {} : { body }) };
  return { method: 'GET', url, headers, signal };
}

const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)|ERR_TLS_/;
const NOT_TLS = /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|RECORD_LAYER_FAILURE|^EPROTO$/;

/** Names what went wrong below HTTP. */
export function transportError(error: unknown, url: URL): Error {
  if (error instanceof ContainerError) return error;
  const code = errnoOf(error) ?? '';
  const why = error instanceof Error ? error.message || code : String(error);
  const details = { registry: url.host, cause: code };
  if (NOT_TLS.test(code) || /wrong version number/.test(why)) return plainHttpRefused(url, error);
  if (UNTRUSTED.test(code)) {
    return new ContainerError(
      'REGISTRY_UNTRUSTED',
      `refused ${url.host}: its certificate is not trusted (${why})`,
      {
        cause: error,
        hint: 'pass the certificate of its authority (option ca, flag --ca), or install it on the system',
        details,
      },
    );
  }
  return new ContainerError('REGISTRY_UNREACHABLE', `cannot reach ${url.host}: ${why}`, {
    cause: error,
    hint: 'check the name, the network and that the registry runs',
    retryable: true,
    details,
  });
}

function plainHttpRefused(url: URL, cause?: unknown): ContainerError {
  return new ContainerError(
    'PLAIN_HTTP_REFUSED',
    `refused to speak to ${url.host} without encryption: it offers plain HTTP and is not this machine`,
    {
      ...(cause === undefined ? {} : { cause }),
      hint: 'give the registry a certificate, or allow it (option plainHttp, flag --plain-http)',
      details: { registry: url.host },
    },
  );
}

/** An address without its query, which may hold signatures and tokens. */
export function place(url: URL): string {
  return `${url.origin}${url.pathname}`;
}
