// Checking a signed access token: one algorithm, one type, one issuer, one audience (RFC 8725, RFC 9068).

import { hash } from 'node:crypto';
import type { Clock } from '@heptad/core';
import { errors, jwtVerify } from 'jose';
import { SecurityError } from '../errors.ts';
import type { SigningKeys } from './signing-keys.ts';

/** What every access token says of itself. */
export const ACCESS_TOKEN = {
  algorithm: 'EdDSA',
  type: 'at+jwt',
  issuer: 'heptad',
  audience: 'heptad-api',
} as const;
/** A JWT of ours has some 400 characters. */
const MAX_CHARS = 2_048;
/** Verifying a signature takes some 300 µs; each client repeats its token for minutes. Hashes only, no tokens. */
const CACHE_ENTRIES = 4_096;

/** What an access token claims, its signature being checked. */
export interface AccessClaims {
  readonly user: string;
  readonly sessionId: string;
  readonly expiresAt: number;
}

/** Verifies access tokens, remembering the signatures it has checked. */
export class AccessTokenVerifier {
  readonly #signing: SigningKeys;
  readonly #clock: Clock;
  readonly #checked = new Map<string, AccessClaims>();

  constructor(signing: SigningKeys, clock: Clock) {
    this.#signing = signing;
    this.#clock = clock;
  }

  /** `TOKEN_EXPIRED`, `TOKEN_INVALID`. */
  async verify(token: string): Promise<AccessClaims> {
    if (token.length > MAX_CHARS) throw invalidToken();
    const digest = hash('sha256', token, 'hex');
    const known = this.#checked.get(digest);
    if (known !== undefined) {
      if (this.#clock.now() < known.expiresAt) return known;
      this.#checked.delete(digest);
      throw expiredToken();
    }
    const claims = await this.#check(token);
    this.#checked.set(digest, claims);
    for (const oldest of this.#checked.keys()) {
      if (this.#checked.size <= CACHE_ENTRIES) break;
      this.#checked.delete(oldest);
    }
    return claims;
  }

  async #check(token: string): Promise<AccessClaims> {
    try {
      const { payload } = await jwtVerify(
        token,
        async (header) => {
          const key = await this.#signing.find(header.kid ?? '');
          if (key === undefined) throw invalidToken();
          return key;
        },
        {
          algorithms: [ACCESS_TOKEN.algorithm],
          typ: ACCESS_TOKEN.type,
          issuer: ACCESS_TOKEN.issuer,
          audience: ACCESS_TOKEN.audience,
          requiredClaims: ['sub', 'sid', 'exp', 'iat', 'jti'],
          currentDate: new Date(this.#clock.now()),
        },
      );
      const { sub, sid, exp } = payload;
      if (sub === undefined || typeof sid !== 'string' || exp === undefined) throw invalidToken();
      return { user: sub, sessionId: sid, expiresAt: exp * 1_000 };
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw expiredToken();
      // What the state store says of itself is no statement about the token.
      if (error instanceof errors.JOSEError || error instanceof SecurityError) throw invalidToken();
      throw error;
    }
  }
}

/** One error for every reason but time: nothing is learnt by trying. */
export function invalidToken(): SecurityError {
  return new SecurityError('TOKEN_INVALID', 'the token is not valid', {
    hint: 'log in again, or use another token',
  });
}

/** The token's time is over. */
export function expiredToken(): SecurityError {
  return new SecurityError('TOKEN_EXPIRED', 'the token has expired', { hint: 'refresh it or log in again' });
}
