// The rotating Ed25519 keys that sign access tokens: shared through the state store, private halves sealed.

import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, type KeyObject } from 'node:crypto';
import { type Clock, isHeptadError, type KeyManager, type StateStore } from '@heptad/core';
import { z } from 'zod';
import { Records } from './records.ts';

/** The key that seals the private halves. */
const SEALING_KEY = 'heptad-token-signing';
/** A new key signs after this long; a stolen one is worth no more than that. */
const SIGNING_MS: number = 24 * 60 * 60 * 1_000;
/** A key is known this much longer than it signs: every token it signed has expired by then. */
const OVERLAP_MS: number = 60 * 60 * 1_000;
/** Tokens with unknown key ids make at most one look into the store in this time. */
const UNKNOWN_COOLDOWN_MS = 1_000;
const KID_PATTERN = /^[A-Za-z0-9_-]{22}$/;

interface SigningKeyRecord {
  readonly kid: string;
  readonly publicPem: string;
  readonly sealedPrivate: string;
  readonly createdAt: number;
}

const signingKeyRecord: z.ZodType<SigningKeyRecord> = z.strictObject({
  kid: z.string().regex(KID_PATTERN),
  publicPem: z.string(),
  sealedPrivate: z.string(),
  createdAt: z.number().int(),
});

/** A key that signs now. */
export interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
}

/** Gives the present signing key and the public keys of the recent ones. */
export class SigningKeys {
  readonly #records: Records<SigningKeyRecord>;
  readonly #keys: KeyManager;
  readonly #clock: Clock;
  readonly #public = new Map<string, { readonly key: KeyObject; readonly createdAt: number }>();
  #present: (SigningKey & { readonly createdAt: number }) | undefined;
  #loading: Promise<SigningKey> | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(options: { readonly store: StateStore; readonly keys: KeyManager; readonly clock: Clock }) {
    this.#records = new Records(options.store, '/security/signing-keys/', (value) =>
      signingKeyRecord.parse(value),
    );
    this.#keys = options.keys;
    this.#clock = options.clock;
  }

  /** The key to sign with; made, and old ones removed, when the newest is too old. */
  async current(): Promise<SigningKey> {
    if (this.#present !== undefined && this.#clock.now() - this.#present.createdAt < SIGNING_MS)
      return this.#present;
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  /** The public key of that id, if it signed recently. */
  async find(kid: string): Promise<KeyObject | undefined> {
    if (!KID_PATTERN.test(kid)) return undefined;
    const now = this.#clock.now();
    const known = this.#public.get(kid);
    if (known !== undefined) return now - known.createdAt < SIGNING_MS + OVERLAP_MS ? known.key : undefined;
    // Another server may have made it just now. A flood of invented ids must not become a flood of reads.
    if (this.#clock.monotonicMs() - this.#lookedAt < UNKNOWN_COOLDOWN_MS) return undefined;
    this.#lookedAt = this.#clock.monotonicMs();
    const found = await this.#records.find(kid);
    if (found === undefined || now - found.value.createdAt >= SIGNING_MS + OVERLAP_MS) return undefined;
    return this.#remember(found.value);
  }

  #remember(record: SigningKeyRecord): KeyObject {
    const key = createPublicKey(record.publicPem);
    this.#public.set(record.kid, { key, createdAt: record.createdAt });
    return key;
  }

  async #load(): Promise<SigningKey> {
    const now = this.#clock.now();
    const records = (await this.#records.list()).map(({ value }) => value);
    for (const old of records.filter((record) => now - record.createdAt >= SIGNING_MS + OVERLAP_MS)) {
      await this.#records.remove(old.kid);
      this.#public.delete(old.kid);
    }
    const newest = records.toSorted((a, b) => b.createdAt - a.createdAt)[0];
    const kept =
      newest !== undefined && now - newest.createdAt < SIGNING_MS ? await this.#open(newest) : undefined;
    this.#present = kept ?? (await this.#make(now));
    return this.#present;
  }

  /** Undefined when this keyring cannot open it (it was restored or made anew): then a new key signs. */
  async #open(record: SigningKeyRecord): Promise<(SigningKey & { readonly createdAt: number }) | undefined> {
    try {
      const pem = await this.#keys.decrypt(SEALING_KEY, record.sealedPrivate, { kid: record.kid });
      const privateKey = createPrivateKey(Buffer.from(pem));
      pem.fill(0);
      this.#remember(record);
      return { kid: record.kid, createdAt: record.createdAt, privateKey };
    } catch (error) {
      if (isHeptadError(error, 'CLOSED')) throw error;
      return undefined;
    }
  }

  async #make(now: number): Promise<SigningKey & { readonly createdAt: number }> {
    try {
      await this.#keys.createKey(SEALING_KEY);
    } catch (error) {
      if (!isHeptadError(error, 'KEY_EXISTS')) throw error;
    }
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    const kid = hash('sha256', publicPem, 'base64url').slice(0, 22);
    const pem = Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const sealedPrivate = await this.#keys.encrypt(SEALING_KEY, pem, { kid });
    pem.fill(0);
    const record = { kid, publicPem, sealedPrivate, createdAt: now };
    await this.#records.create(kid, record);
    this.#remember(record);
    return { kid, createdAt: now, privateKey };
  }
}
