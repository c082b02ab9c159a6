// Requests to one registry: its scheme found out, its challenges answered, its failures repeated or named.

import type { Clock, Random } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { Authenticator, LOGIN_HINT, type Scope } from './authenticator.ts';
import type { RegistryCredentials } from './credentials.ts';
import { type HttpClient, type HttpResponse, place, type RequestBody } from './http.ts';
import { isLoopback } from './location.ts';
import { isRetryableStatus, pause, type RetryOptions, retryAfterMs } from './retry.ts';

/** What a session works with. */
export interface SessionOptions {
  /** `host[:port]`. */
  readonly host: string;
  /** Known when a mirror's address says it. */
  readonly scheme?: 'http' | 'https';
  /** Goes before every repository's path: a mirror may keep registries below one. */
  readonly prefix?: string;
  readonly http: HttpClient;
  readonly plainHttp: boolean;
  readonly credentials: () => Promise<RegistryCredentials | undefined>;
  readonly retry: RetryOptions;
  readonly clock: Clock;
  readonly random: Random;
}

/** One request below `/v2/`, or to an address that the registry gave. */
export interface SessionRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly scope: Scope;
  /** Path below the repository (`manifests/latest`), or a whole address. */
  readonly path: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody;
  /** Statuses that are handed back; any other is an error. */
  readonly accept: readonly number[];
  /** What is being done, for messages: "get the manifest of x". */
  readonly doing: string;
  /** Whether a failure is repeated. Default true; false for what must not be done twice. */
  readonly repeat?: boolean;
  readonly signal?: AbortSignal | undefined;
}

// A registry's own words about an error are a few hundred bytes.
const MAX_ERROR_BYTES = 256 * 1024;
const MAX_ERROR_TEXT = 300;
// The first challenge, and a token that ended meanwhile.
const MAX_CHALLENGES = 2;

/** A conversation with one registry. */
export class RegistrySession {
  readonly host: string;
  private readonly options: SessionOptions;
  private readonly authenticator: Authenticator;
  private scheme: 'http' | 'https' | undefined;
  private probing: Promise<'http' | 'https'> | undefined;

  constructor(options: SessionOptions) {
    this.options = options;
    this.host = options.host;
    this.scheme = options.scheme ?? (options.plainHttp ? 'http' : undefined);
    this.authenticator = new Authenticator({
      http: options.http,
      clock: options.clock,
      registry: options.host,
      credentials: options.credentials,
    });
  }

  /** Sends a request. Throws what its status or the network means, by code. */
  async send(sent: SessionRequest): Promise<HttpResponse> {
    const { retry, clock } = this.options;
    for (let attempt = 1; ; attempt += 1) {
      const isLast = attempt >= retry.attempts || sent.repeat === false;
      let response: HttpResponse;
      try {
        response = await this.authenticated(sent);
      } catch (error) {
        sent.signal?.throwIfAborted();
        if (isLast || !isHeptadError(error) || !error.retryable) throw error;
        await pause(attempt, retry, this.options, 0, sent.signal);
        continue;
      }
      if (sent.accept.includes(response.status)) return response;
      const askedMs = retryAfterMs(response, clock.now());
      const tooLong = askedMs !== undefined && askedMs > retry.maxRetryAfterMs;
      if (isLast || tooLong || !isRetryableStatus(response.status))
        throw await this.refusal(sent, response, askedMs);
      response.discard();
      await pause(attempt, retry, this.options, askedMs, sent.signal);
    }
  }

  /** The address of a path below a repository of this registry. */
  async address(repository: string, path: string): Promise<URL> {
    const base = `${await this.whichScheme()}://${this.host}`;
    return new URL(`/v2/${this.options.prefix ?? ''}${repository}/${path}`, base);
  }

  private async authenticated(sent: SessionRequest): Promise<HttpResponse> {
    const own = await this.address(sent.scope.repository, typeof sent.path === 'string' ? sent.path : '');
    const url = typeof sent.path === 'string' ? own : sameScheme(sent.path, own);
    const { method, body, signal } = sent;
    // The registry may name another host to upload to; our credentials are not for that one.
    const isOurs = url.origin === own.origin;
    let authorization = isOurs ? await this.authenticator.header(sent.scope) : undefined;
    for (let challenges = 0; ; challenges += 1) {
      const response = await this.options.http.send({
        method,
        url,
        headers: { ...sent.headers, ...(authorization === undefined ? {} : { authorization }) },
        ...(body === undefined ? {} : { body }),
        signal,
      });
      const isFromRegistry = isOurs && response.url.origin === own.origin;
      if (response.status !== 401 || !isFromRegistry || challenges === MAX_CHALLENGES) return response;
      this.authenticator.accept(response, sent.scope);
      const answer = await this.authenticator.header(sent.scope);
      if (answer === undefined || answer === authorization) return response;
      response.discard();
      authorization = answer;
    }
  }

  /** HTTPS; on this machine HTTP when that is what the registry speaks. */
  private async whichScheme(): Promise<'http' | 'https'> {
    if (this.scheme !== undefined) return this.scheme;
    const hostname = new URL(`https://${this.host}`).hostname;
    if (!isLoopback(hostname)) {
      this.scheme = 'https';
      return this.scheme;
    }
    this.probing ??= this.probe().finally(() => {
      this.probing = undefined;
    });
    this.scheme = await this.probing;
    return this.scheme;
  }

  private async probe(): Promise<'http' | 'https'> {
    try {
      const response = await this.options.http.send({
        method: 'GET',
        url: new URL(`https://${this.host}/v2/`),
        headers: {},
      });
      response.discard();
      return 'https';
    } catch (error) {
      if (isHeptadError(error, 'PLAIN_HTTP_REFUSED')) return 'http';
      throw error;
    }
  }

  private async refusal(
    sent: SessionRequest,
    response: HttpResponse,
    askedMs: number | undefined,
  ): Promise<ContainerError> {
    const { status } = response;
    const said = await wordsOf(response);
    const message = `cannot ${sent.doing}: ${this.host} answered ${status}${said === '' ? '' : ` (${said})`}`;
    const details = { registry: this.host, status, said };
    switch (status) {
      case 401:
        return new ContainerError('UNAUTHENTICATED', message, { hint: LOGIN_HINT, details });
      case 403:
        return new ContainerError('ACCESS_DENIED', message, {
          hint: 'this user may not do it; use another, or have the right granted at the registry',
          details,
        });
      case 404:
        return new ContainerError('IMAGE_NOT_FOUND', message, {
          hint: 'check the name and the tag; RegistryClient.tags() lists what is there',
          details,
        });
      case 429:
        return new ContainerError('RATE_LIMITED', message, {
          hint: 'wait, log in for a higher limit, or use a mirror',
          retryable: true,
          details: { ...details, ...(askedMs === undefined ? {} : { retryAfterMs: askedMs }) },
        });
      default:
        return new ContainerError('REGISTRY_FAILED', `${message} at ${place(response.url)}`, {
          retryable: isRetryableStatus(status),
          details,
        });
    }
  }
}

/** A registry behind a proxy that ends TLS often names itself with http; we stay with what we were given. */
function sameScheme(url: URL, own: URL): URL {
  if (url.protocol === own.protocol || url.hostname !== own.hostname) return url;
  if (own.protocol !== 'https:') return url;
  const upgraded = new URL(url);
  upgraded.protocol = 'https:';
  upgraded.port = own.port;
  return upgraded;
}

/** The registry's own explanation: `code: message` of its first errors, without control characters. */
async function wordsOf(response: HttpResponse): Promise<string> {
  const bytes = await response.bytes(MAX_ERROR_BYTES).catch(() => new Uint8Array());
  const text = Buffer.from(bytes).toString('utf8');
  let words = text;
  try {
    const json: unknown = JSON.parse(text);
    const errors = typeof json === 'object' && json !== null && 'errors' in json ? json.errors : undefined;
    if (Array.isArray(errors)) words = errors.map(describe).join('; ');
  } catch {
    // Not JSON: a proxy's page, of which the beginning is better than nothing.
  }
  return words
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
    .slice(0, MAX_ERROR_TEXT);
}

function describe(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  const code = 'code' in error ? String(error.code) : '';
  const message = 'message' in error ? String(error.message) : '';
  return message === '' ? code : `${code}: ${message}`;
}
