// TokenService: short signed access tokens with refresh for people, long opaque tokens for programs; all revocable.

import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { type Clock, type KeyManager, type Principal, type StateStore, systemClock } from '@heptad/core';
import { SignJWT } from 'jose';
import { SecurityError } from '../errors.ts';
import { ACCESS_TOKEN, AccessTokenVerifier, expiredToken, invalidToken } from './access-token.ts';
import { Records } from './records.ts';
import { SigningKeys } from './signing-keys.ts';
import { type ApiTokenRecord, parseApiToken, parseSession, type SessionRecord } from './token-records.ts';
import type { User, UserDirectory } from './users.ts';

/** RFC 9700 asks for short ones; a revoked session is refused at once in any case. */
const ACCESS_MS: number = 15 * 60 * 1_000;
/** A session unused this long ends. */
const IDLE_MS: number = 24 * 60 * 60 * 1_000;
/** However busy it is, after this long the password is asked for again. */
const ABSOLUTE_MS: number = 7 * 24 * 60 * 60 * 1_000;
/** Of one user; the one unused longest goes. */
const MAX_SESSIONS = 20;
/** Of the whole platform: a service with facilities needs one each. */
const MAX_API_TOKENS = 10_000;
const SECRET_BYTES = 32;

/** What a login or a refresh gives. */
export interface TokenPair {
  /** JWT (EdDSA, `typ` at+jwt), for `Authorization: Bearer`. */
  readonly accessToken: string;
  /** Wall time when the access token ends. */
  readonly expiresAt: number;
  /** Good once: each refresh gives the next one. */
  readonly refreshToken: string;
  readonly user: { readonly name: string; readonly roles: readonly string[] };
}

/** Who a token speaks for. */
export interface Authenticated {
  readonly principal: Principal;
  readonly expiresAt?: number;
  readonly kind: 'session' | 'api-token';
  /** Session or token id: for ending it and for the audit log. */
  readonly credentialId: string;
}

/** An API token as shown: without its secret, which nobody has. */
export interface ApiToken {
  readonly id: string;
  /** What it is for. */
  readonly description: string;
  readonly principal: {
    readonly id: string;
    readonly type: Principal['type'];
    readonly roles: readonly string[];
  };
  readonly scopes?: readonly string[] | undefined;
  readonly createdAt: number;
  readonly expiresAt?: number | undefined;
}

/** Options of {@link TokenService}. */
export interface TokenServiceOptions {
  readonly store: StateStore;
  /** Seals the signing keys. */
  readonly keys: KeyManager;
  readonly users: UserDirectory;
  readonly clock?: Clock;
}

/** Gives and checks tokens. */
export class TokenService {
  readonly #signing: SigningKeys;
  readonly #verifier: AccessTokenVerifier;
  readonly #sessions: Records<SessionRecord>;
  readonly #apiTokens: Records<ApiTokenRecord>;
  readonly #users: UserDirectory;
  readonly #clock: Clock;

  constructor(options: TokenServiceOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#signing = new SigningKeys({ store: options.store, keys: options.keys, clock: this.#clock });
    this.#verifier = new AccessTokenVerifier(this.#signing, this.#clock);
    this.#sessions = new Records(options.store, '/security/sessions/', parseSession);
    this.#apiTokens = new Records(options.store, '/security/tokens/', parseApiToken);
    this.#users = options.users;
  }

  /** Begins a session for a user whose password was checked. */
  async issue(user: User): Promise<TokenPair> {
    await this.#makeRoom(user.name);
    const now = this.#clock.now();
    const id = randomBytes(16).toString('base64url');
    const secret = newSecret();
    const session = { id, user: user.name, secretHash: hashed(secret), createdAt: now, usedAt: now };
    await this.#sessions.create(`${user.name}/${id}`, session);
    return this.#pair(user, id, secret);
  }

  /**
   * The next access token for a refresh token, and the next refresh token.
   *
   * A refresh token that was used before means that two have it: the session ends and both must log in again.
   * Errors: `TOKEN_REUSED`, `TOKEN_EXPIRED`, `TOKEN_INVALID`.
   */
  async refresh(refreshToken: string): Promise<TokenPair> {
    const [, name, id, secret] =
      /^hrt_([a-z0-9._-]{1,63})~([A-Za-z0-9_-]{22})~([A-Za-z0-9_-]{43})$/.exec(refreshToken) ?? [];
    if (name === undefined || id === undefined || secret === undefined) throw invalidToken();
    const key = `${name}/${id}`;
    const found = await this.#sessions.find(key);
    const user = await this.#users.find(name);
    if (found === undefined || user === undefined || user.disabled) throw invalidToken();
    const now = this.#clock.now();
    if (now - found.value.usedAt >= IDLE_MS || now - found.value.createdAt >= ABSOLUTE_MS) {
      await this.#sessions.remove(key);
      throw expiredToken();
    }
    // The session's id is 128 random bits that only its tokens hold: a wrong secret beside it is an old one of its own.
    if (!sameHash(found.value.secretHash, hashed(secret))) return this.#endReused(key);
    const next = newSecret();
    const renewed = { ...found.value, secretHash: hashed(next), usedAt: now };
    if ((await this.#sessions.replace(key, renewed, found.revision)) === 'conflict')
      return this.#endReused(key);
    return this.#pair(user, id, next);
  }

  async #endReused(key: string): Promise<never> {
    await this.#sessions.remove(key);
    throw new SecurityError('TOKEN_REUSED', 'the refresh token was used before: the session has been ended', {
      hint: 'log in again; if the other use was not yours, change the password',
    });
  }

  /**
   * Whom a token speaks for: an access token or an API token. Roles are those of now, not those at its making; ended
   * sessions, disabled users and revoked tokens are refused at once.
   *
   * Errors: `TOKEN_EXPIRED`, `TOKEN_INVALID` (one error for every other reason).
   */
  async verify(token: string): Promise<Authenticated> {
    return token.startsWith('hpt_') ? this.#verifyApiToken(token) : this.#verifyAccessToken(token);
  }

  /** Ends a session. */
  async endSession(user: string, sessionId: string): Promise<void> {
    await this.#sessions.remove(`${user}/${sessionId}`);
  }

  /** Ends all sessions of a user and revokes the API tokens that speak for them. */
  async endAll(user: string): Promise<void> {
    await this.#sessions.remove(`${user}/`, { prefix: true });
    for (const { value } of await this.#apiTokens.list()) {
      if (value.principal.type === 'user' && value.principal.id === user)
        await this.#apiTokens.remove(value.id);
    }
  }

  /** The sessions of a user, newest first. */
  async sessions(user: string): Promise<{ id: string; createdAt: number; usedAt: number }[]> {
    const found = await this.#sessions.list(`${user}/`);
    return found
      .map(({ value }) => ({ id: value.id, createdAt: value.createdAt, usedAt: value.usedAt }))
      .sort((a, b) => b.usedAt - a.usedAt);
  }

  /**
   * Makes an opaque token for a program. Only its hash is kept: the token in the answer is shown once.
   *
   * @param options.scopes `resource:action` each; narrows what the roles allow. Absent: all that the roles allow
   * @param options.ttlMs ends it after this long; absent: until it is revoked
   */
  async createApiToken(options: {
    readonly principal: {
      readonly id: string;
      readonly type: Principal['type'];
      readonly roles: readonly string[];
    };
    readonly description: string;
    readonly scopes?: readonly string[];
    readonly ttlMs?: number;
  }): Promise<{ readonly token: string; readonly info: ApiToken }> {
    const badScope = options.scopes?.find(
      (scope) => !/^[a-z0-9][a-z0-9/._-]*:(read|write|execute)$/.test(scope),
    );
    if (badScope !== undefined) {
      throw new SecurityError(
        'INVALID_ARGUMENT',
        `cannot create a token with the scope ${JSON.stringify(badScope)}`,
        {
          hint: 'scopes are resource:action, such as storage/photos:read',
        },
      );
    }
    if ((await this.#apiTokens.list()).length >= MAX_API_TOKENS) {
      throw new SecurityError('INVALID_ARGUMENT', `cannot create a token: the limit is ${MAX_API_TOKENS}`, {
        hint: 'revoke tokens that nobody uses',
      });
    }
    const id = randomBytes(8).toString('hex');
    const secret = newSecret();
    const now = this.#clock.now();
    const { id: principalId, type, roles } = options.principal;
    const info: ApiToken = {
      id,
      description: options.description,
      principal: { id: principalId, type, roles: [...roles] },
      createdAt: now,
      ...(options.scopes === undefined ? {} : { scopes: [...options.scopes] }),
      ...(options.ttlMs === undefined ? {} : { expiresAt: now + options.ttlMs }),
    };
    await this.#apiTokens.create(id, { ...info, secretHash: hashed(secret) });
    return { token: `hpt_${id}_${secret}`, info };
  }

  /** All API tokens. */
  async listApiTokens(): Promise<ApiToken[]> {
    return (await this.#apiTokens.list()).map(({ value: { secretHash: _hidden, ...info } }) => info);
  }

  /** Revokes an API token at once. `NOT_FOUND`. */
  async revokeApiToken(id: string): Promise<void> {
    if ((await this.#apiTokens.remove(id)) > 0) return;
    throw new SecurityError('NOT_FOUND', `there is no token "${id}"`, {
      hint: 'list the tokens to see their ids',
    });
  }

  async #verifyApiToken(token: string): Promise<Authenticated> {
    const [, id, secret] = /^hpt_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/.exec(token) ?? [];
    if (id === undefined || secret === undefined) throw invalidToken();
    const found = await this.#apiTokens.find(id);
    if (found === undefined || !sameHash(found.value.secretHash, hashed(secret))) throw invalidToken();
    const { principal, scopes, expiresAt, description } = found.value;
    if (expiresAt !== undefined && this.#clock.now() >= expiresAt) throw expiredToken();
    const roles =
      principal.type === 'user' ? await this.#rolesNow(principal.id, principal.roles) : principal.roles;
    const narrowed: Record<string, string> = scopes === undefined ? {} : { scopes: scopes.join(' ') };
    return {
      principal: {
        id: principal.id,
        type: principal.type,
        roles,
        attributes: { token: description, ...narrowed },
      },
      kind: 'api-token',
      credentialId: id,
      ...(expiresAt === undefined ? {} : { expiresAt }),
    };
  }

  async #verifyAccessToken(token: string): Promise<Authenticated> {
    const claims = await this.#verifier.verify(token);
    const session = await this.#sessions.find(`${claims.user}/${claims.sessionId}`);
    if (session === undefined) throw invalidToken();
    const roles = await this.#rolesNow(claims.user);
    return {
      principal: { id: claims.user, type: 'user', roles },
      expiresAt: claims.expiresAt,
      kind: 'session',
      credentialId: claims.sessionId,
    };
  }

  /** The user's roles as they are now; with `atMost`, those of them that the credential was given. */
  async #rolesNow(name: string, atMost?: readonly string[]): Promise<readonly string[]> {
    const user = await this.#users.find(name);
    if (user === undefined || user.disabled) throw invalidToken();
    return atMost === undefined ? user.roles : atMost.filter((role) => user.roles.includes(role));
  }

  async #pair(user: User, sessionId: string, secret: string): Promise<TokenPair> {
    const { kid, privateKey } = await this.#signing.current();
    const issuedAt = Math.floor(this.#clock.now() / 1_000);
    const expiresAt = issuedAt + ACCESS_MS / 1_000;
    const accessToken = await new SignJWT({ sid: sessionId })
      .setProtectedHeader({ alg: ACCESS_TOKEN.algorithm, typ: ACCESS_TOKEN.type, kid })
      .setIssuer(ACCESS_TOKEN.issuer)
      .setAudience(ACCESS_TOKEN.audience)
      .setSubject(user.name)
      .setIssuedAt(issuedAt)
      .setExpirationTime(expiresAt)
      .setJti(randomBytes(12).toString('base64url'))
      .sign(privateKey);
    return {
      accessToken,
      expiresAt: expiresAt * 1_000,
      refreshToken: `hrt_${user.name}~${sessionId}~${secret}`,
      user: { name: user.name, roles: user.roles },
    };
  }

  /** Ends what has expired, and the session unused longest when there are too many. */
  async #makeRoom(user: string): Promise<void> {
    const now = this.#clock.now();
    const sessions = (await this.#sessions.list(`${user}/`)).map(({ value }) => value);
    const ended = (session: SessionRecord): boolean =>
      now - session.usedAt >= IDLE_MS || now - session.createdAt >= ABSOLUTE_MS;
    const alive = sessions.filter((session) => !ended(session)).sort((a, b) => b.usedAt - a.usedAt);
    for (const session of [...sessions.filter(ended), ...alive.slice(MAX_SESSIONS - 1)]) {
      await this.#sessions.remove(`${user}/${session.id}`);
    }
  }
}

function newSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url');
}

// The secret has 256 random bits: a fast hash is enough, there is nothing to guess.
function hashed(secret: string): string {
  return hash('sha256', secret, 'hex');
}

function sameHash(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
