// Answers a registry's challenge: Basic, or a Bearer token fetched from the token server it names and kept while valid.

import type { Clock } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { parseChallenges } from './challenge.ts';
import type { RegistryCredentials } from './credentials.ts';
import { type HttpClient, type HttpResponse, place } from './http.ts';

/** What a request needs to be allowed. */
export interface Scope {
  readonly repository: string;
  readonly actions: 'pull' | 'pull,push' | 'delete' | 'pull,push,delete';
  /** A second repository whose blobs are read, for a mount. */
  readonly mountFrom?: string;
}

/** What the answers come from. */
export interface AuthenticatorOptions {
  readonly http: HttpClient;
  readonly clock: Clock;
  /** The registry's name, for messages. */
  readonly registry: string;
  readonly credentials: () => Promise<RegistryCredentials | undefined>;
}

interface Token {
  readonly header: string;
  /** On the monotonic clock. */
  readonly expiresAtMs: number;
}

type Remembered =
  | { readonly scheme: 'basic' }
  | { readonly scheme: 'bearer'; readonly realm: URL; readonly service: string | undefined };

const CLIENT_ID = 'heptad-container';
// The token specification: without expires_in a token lives for a minute, and clients must not rely on more.
const DEFAULT_TOKEN_SECONDS = 60;
// A token that ends while its request is on the way would only cost a second round trip.
const USABLE_PART = 0.8;
const MAX_TOKEN_ANSWER_BYTES = 1024 * 1024;
// One client talks to few repositories; the oldest token goes first.
const MAX_TOKENS = 256;

const tokenAnswer = z.object({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().optional(),
});

/** Authorization headers for one registry. */
export class Authenticator {
  private readonly options: AuthenticatorOptions;
  private readonly tokens = new Map<string, Promise<Token>>();
  private remembered: Remembered | undefined;
  private found: Promise<RegistryCredentials | undefined> | undefined;

  constructor(options: AuthenticatorOptions) {
    this.options = options;
  }

  /** The header to send; undefined before the registry has asked for one. */
  async header(scope: Scope | undefined): Promise<string | undefined> {
    const known = this.remembered;
    if (known === undefined) return undefined;
    if (known.scheme === 'basic') return basic(await this.credentials());
    const found = await this.credentials();
    if (found !== undefined && 'bearerToken' in found) return `Bearer ${found.bearerToken}`;
    return (await this.token(known.realm, known.service, scopesOf(scope))).header;
  }

  /** Takes up the challenge of a 401, so that the next {@link header} answers it. */
  accept(response: HttpResponse, scope: Scope | undefined): void {
    const challenges = parseChallenges(response.header('www-authenticate') ?? '');
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer?.parameters.realm !== undefined) {
      // A token that was good may have been revoked.
      this.tokens.delete(scopesOf(scope).join(' '));
      this.remembered = {
        scheme: 'bearer',
        realm: realmOf(bearer.parameters.realm, response.url),
        service: bearer.parameters.service,
      };
    } else if (challenges.some(({ scheme }) => scheme === 'basic')) {
      this.remembered = { scheme: 'basic' };
    }
  }

  private async credentials(): Promise<RegistryCredentials | undefined> {
    this.found ??= this.options.credentials();
    return await this.found;
  }

  private async token(realm: URL, service: string | undefined, scopes: readonly string[]): Promise<Token> {
    const key = scopes.join(' ');
    // Three layers that start at once share one request, and its failure.
    for (let pending = this.tokens.get(key); pending !== undefined; pending = this.tokens.get(key)) {
      const known = await pending;
      if (known.expiresAtMs > this.options.clock.monotonicMs()) return known;
      if (this.tokens.get(key) === pending) this.tokens.delete(key);
    }
    const fetching = this.fetchToken(realm, service, scopes);
    this.tokens.set(key, fetching);
    fetching.catch(() => {
      if (this.tokens.get(key) === fetching) this.tokens.delete(key);
    });
    const oldest = this.tokens.keys().next().value;
    if (this.tokens.size > MAX_TOKENS && oldest !== undefined) this.tokens.delete(oldest);
    return await fetching;
  }

  /** Source: distribution's "Token Authentication" (GET) and "OAuth2" (POST, for identity tokens) specifications. */
  private async fetchToken(
    realm: URL,
    service: string | undefined,
    scopes: readonly string[],
  ): Promise<Token> {
    const { http, registry } = this.options;
    const found = await this.credentials();
    const response =
      found !== undefined && 'identityToken' in found
        ? await http.send({ method: 'POST', url: realm, ...refresh(found.identityToken, service, scopes) })
        : await http.send({
            method: 'GET',
            url: withQuery(realm, service, scopes, found),
            headers: basicHeaders(found),
          });
    const bytes = await response.bytes(MAX_TOKEN_ANSWER_BYTES);
    if (response.status === 401 || response.status === 403 || response.status === 400) {
      throw new ContainerError(
        'UNAUTHENTICATED',
        `${place(realm)} gave no token for ${registry}: HTTP ${response.status}`,
        {
          hint:
            found === undefined
              ? LOGIN_HINT
              : 'the user name or password is wrong: docker login writes new ones',
          details: { registry, status: response.status, scopes },
        },
      );
    }
    const answer = response.status === 200 ? tokenAnswer.safeParse(parseJson(bytes)) : undefined;
    const token = answer?.data?.token ?? answer?.data?.access_token;
    if (token === undefined || token === '') {
      throw new ContainerError('REGISTRY_FAILED', `${place(realm)} gave no token: HTTP ${response.status}`, {
        retryable: response.status >= 500 || response.status === 429,
        details: { registry, status: response.status },
      });
    }
    const seconds = answer?.data?.expires_in ?? DEFAULT_TOKEN_SECONDS;
    return {
      header: `Bearer ${token}`,
      expiresAtMs: this.options.clock.monotonicMs() + seconds * 1000 * USABLE_PART,
    };
  }
}

/** What to do when a registry knows nobody. */
export const LOGIN_HINT =
  'log in (docker login writes ~/.docker/config.json), or pass credentials to RegistryClient';

function scopesOf(scope: Scope | undefined): string[] {
  if (scope === undefined) return [];
  const own = `repository:${scope.repository}:${scope.actions}`;
  return scope.mountFrom === undefined ? [own] : [own, `repository:${scope.mountFrom}:pull`];
}

function realmOf(text: string, from: URL): URL {
  try {
    return new URL(text);
  } catch (cause) {
    throw new ContainerError('REGISTRY_FAILED', `${from.host} names no usable token server`, { cause });
  }
}

function withQuery(
  realm: URL,
  service: string | undefined,
  scopes: readonly string[],
  found: RegistryCredentials | undefined,
): URL {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  url.searchParams.set('client_id', CLIENT_ID);
  if (found !== undefined && 'username' in found) url.searchParams.set('account', found.username);
  return url;
}

function refresh(
  identityToken: string,
  service: string | undefined,
  scopes: readonly string[],
): { headers: Record<string, string>; body: Uint8Array } {
  const form = new URLSearchParams({
    grant_type: 'refresh_token',
    refresh_token: identityToken,
    client_id: CLIENT_ID,
    scope: scopes.join(' '),
    ...(service === undefined ? {} : { service }),
  });
  return {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: Buffer.from(form.toString()),
  };
}

function basic(found: RegistryCredentials | undefined): string | undefined {
  if (found === undefined || !('username' in found)) return undefined;
  return `Basic ${Buffer.from(`${found.username}:${found.password}`).toString('base64')}`;
}

function basicHeaders(found: RegistryCredentials | undefined): Record<string, string> {
  const header = basic(found);
  return header === undefined ? {} : { authorization: header };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    // Not an answer in JSON is the same to the caller as one without a token.
    return undefined;
  }
}
