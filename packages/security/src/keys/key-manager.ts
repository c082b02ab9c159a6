// KeyManager: versioned encryption keys that never leave their keeper (the semantics of Vault transit).

import { randomBytes } from 'node:crypto';
import {
  type Ciphertext,
  type Clock,
  type KeyManager as KeyManagerContract,
  systemClock,
} from '@heptad/core';
import { SecurityError } from '../errors.ts';
import { MAX_PLAINTEXT_BYTES, parseCiphertext, seal, unseal } from './cipher.ts';
import { describeKey, type KeyDescription } from './key-description.ts';
import {
  findIn,
  type Keyring,
  type KeyVersion,
  latest,
  materialOf,
  type NamedKey,
  newVersion,
} from './keyring.ts';
import { KeyringFile, type RootKeySource } from './keyring-file.ts';

/** NIST SP 800-38D, 8.3: random nonces are safe for at most 2^32 encryptions with one key. */
const MAX_ENCRYPTIONS: number = 2 ** 32;
/** From here on `describe` and `onWarning` ask for a rotation. */
const WARN_ENCRYPTIONS: number = 2 ** 31;
/** The counter is written ahead in blocks, so that a crash overcounts (safe) and encryption needs no fsync each. */
const COUNTER_BLOCK = 65_536;
/** The whole keyring is one file rewritten at each change. */
const MAX_KEYS = 1_000;
const MAX_VERSIONS = 1_000;
const NAME_PATTERN = /^[a-z0-9][a-z0-9._-]{0,62}$/;
const KEY_BYTES = 32;

/** Options of {@link KeyManager.open}. */
export interface KeyManagerOptions {
  /** The sealed keyring file. */
  readonly path: string;
  /** Default: the root key file `<path>.root`, made at first use with mode 0600. Keep it apart from your backups. */
  readonly root?: RootKeySource;
  /** Default the system's. */
  readonly clock?: Clock;
  /**
   * Called after each change of the keyring file, before the method that made it resolves: for a copy elsewhere. When it
   * rejects, so does that method, though the change is made.
   */
  readonly onSaved?: () => Promise<void>;
  /** Called once per key version that nears its encryption limit. Default: nothing (see `describe`). */
  readonly onWarning?: (warning: { keyName: string; version: number; encryptions: number }) => void;
}

/**
 * Versioned AES-256-GCM keys in a sealed file.
 *
 * - The newest version encrypts; any version from `minDecryptionVersion` on decrypts.
 * - `context` is bound to the ciphertext as associated data together with key name and version.
 * - Every reason for which a ciphertext does not open is the same `DECRYPTION_FAILED`; only the version, which is in the
 *   clear, is told apart: `KEY_VERSION_TOO_OLD`, `KEY_VERSION_TOO_NEW`, `KEY_VERSION_RETIRED`.
 * - A change is durable before the method resolves. One process owns a keyring (`KEYRING_CHANGED` otherwise).
 *
 * @example
 * ```ts
 * import { mkdtemp } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { KeyManager } from '@heptad/security';
 *
 * const directory = await mkdtemp(join(tmpdir(), 'keys-'));
 * await using keys = await KeyManager.open({ path: join(directory, 'keyring.json') });
 * await keys.createKey('orders');
 * const sealed = await keys.encrypt('orders', Buffer.from('4 pears'), { tenant: 'a' });
 * await keys.rotate('orders');
 * const newer = await keys.rewrap('orders', sealed, { tenant: 'a' });
 * console.log(newer.slice(0, 10), Buffer.from(await keys.decrypt('orders', newer, { tenant: 'a' })).toString());
 * ```
 */
export class KeyManager implements KeyManagerContract, AsyncDisposable {
  readonly #file: KeyringFile | undefined;
  readonly #clock: Clock;
  readonly #onWarning: KeyManagerOptions['onWarning'];
  readonly #onSaved: KeyManagerOptions['onSaved'];
  /** `<name> <version>` -> encryptions made, at or below the version's reserved count. */
  readonly #used = new Map<string, number>();
  readonly #warned = new Set<string>();
  #keyring: Keyring;
  #lastChange: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(
    keyring: Keyring,
    file: KeyringFile | undefined,
    options: Pick<KeyManagerOptions, 'clock' | 'onWarning' | 'onSaved'>,
  ) {
    this.#keyring = keyring;
    this.#file = file;
    this.#clock = options.clock ?? systemClock;
    this.#onWarning = options.onWarning;
    this.#onSaved = options.onSaved;
  }

  /** Opens a keyring file or begins one. Errors: see {@link KeyringFile.open}. */
  static async open(options: KeyManagerOptions): Promise<KeyManager> {
    const { file, keyring } = await KeyringFile.open(
      options.path,
      options.root ?? { keyFile: `${options.path}.root` },
    );
    return new KeyManager(keyring, file, options);
  }

  /** Keys that vanish with the process. */
  static inMemory(options: Pick<KeyManagerOptions, 'clock' | 'onWarning'> = {}): KeyManager {
    return new KeyManager({ keys: [] }, undefined, options);
  }

  /** Makes a key at version 1. `KEY_EXISTS`, `INVALID_ARGUMENT`. */
  async createKey(name: string): Promise<void> {
    if (!NAME_PATTERN.test(name)) {
      throw new SecurityError('INVALID_ARGUMENT', `cannot create the key ${JSON.stringify(name)}: bad name`, {
        hint: 'use 1 to 63 lower-case letters, digits, dots, hyphens and underscores',
      });
    }
    await this.#change((keyring) => {
      if (keyring.keys.some((key) => key.name === name)) {
        throw new SecurityError('KEY_EXISTS', `cannot create the key "${name}": there is one of that name`, {
          hint: 'rotate it, or choose another name',
        });
      }
      if (keyring.keys.length >= MAX_KEYS) {
        throw new SecurityError(
          'INVALID_ARGUMENT',
          `cannot create the key "${name}": the limit is ${MAX_KEYS} keys`,
        );
      }
      const now = this.#clock.now();
      keyring.keys.push({ name, createdAt: now, minDecryptionVersion: 1, versions: [newVersion(1, now)] });
    });
  }

  /** The names of all keys. */
  list(): string[] {
    return this.#keyring.keys.map((key) => key.name).sort();
  }

  /** Encrypts with the newest version. `KEY_NOT_FOUND`, `KEY_EXHAUSTED` after 2^32 encryptions with one version. */
  async encrypt(
    keyName: string,
    plaintext: Uint8Array,
    context: Readonly<Record<string, string>> = {},
  ): Promise<Ciphertext> {
    if (plaintext.byteLength > MAX_PLAINTEXT_BYTES) {
      throw new SecurityError(
        'INVALID_ARGUMENT',
        `cannot encrypt ${plaintext.byteLength} bytes with "${keyName}": the limit is ${MAX_PLAINTEXT_BYTES}`,
        { hint: 'encrypt large data with a data key (dataKey) and keep only that key wrapped' },
      );
    }
    const version = await this.#countOne(keyName);
    return seal(materialOf(keyName, version), plaintext, { keyName, version: version.version, context });
  }

  /** Opens a ciphertext. `DECRYPTION_FAILED`, `KEY_VERSION_TOO_OLD`, `KEY_VERSION_TOO_NEW`, `KEY_VERSION_RETIRED`. */
  async decrypt(
    keyName: string,
    ciphertext: Ciphertext,
    context: Readonly<Record<string, string>> = {},
  ): Promise<Uint8Array> {
    const key = this.#find(keyName);
    const { version, box } = parseCiphertext(ciphertext);
    const found = key.versions[version - 1];
    if (found === undefined) {
      throw new SecurityError(
        'KEY_VERSION_TOO_NEW',
        `cannot decrypt with "${keyName}": version ${version} is newer than the newest one, ${latest(key).version}`,
        { hint: 'this keyring is older than the ciphertext: restore the newer keyring' },
      );
    }
    if (version < key.minDecryptionVersion && found.material !== null) {
      throw new SecurityError(
        'KEY_VERSION_TOO_OLD',
        `cannot decrypt with "${keyName}": version ${version} is below the minimum ${key.minDecryptionVersion}`,
        { hint: 'lower minDecryptionVersion for as long as it takes to rewrap what is left' },
      );
    }
    return unseal(materialOf(keyName, found), box, { keyName, version, context });
  }

  /** The same plaintext under the newest version; a ciphertext that is there already comes back as it is. */
  async rewrap(
    keyName: string,
    ciphertext: Ciphertext,
    context: Readonly<Record<string, string>> = {},
  ): Promise<Ciphertext> {
    const plaintext = await this.decrypt(keyName, ciphertext, context);
    try {
      if (parseCiphertext(ciphertext).version === latest(this.#find(keyName)).version) return ciphertext;
      return await this.encrypt(keyName, plaintext, context);
    } finally {
      plaintext.fill(0);
    }
  }

  /** A fresh 256-bit key for data of any size: use `plaintext` and forget it, keep `wrapped` with the data. */
  async dataKey(
    keyName: string,
    context: Readonly<Record<string, string>> = {},
  ): Promise<{ plaintext: Uint8Array; wrapped: Ciphertext }> {
    const plaintext = randomBytes(KEY_BYTES);
    return { plaintext, wrapped: await this.encrypt(keyName, plaintext, context) };
  }

  /** Adds a version, which encrypts from now on. Answers its number. */
  async rotate(keyName: string): Promise<number> {
    return this.#change((keyring) => {
      const key = findIn(keyring, keyName);
      if (key.versions.length >= MAX_VERSIONS) {
        throw new SecurityError(
          'INVALID_ARGUMENT',
          `cannot rotate "${keyName}": the limit is ${MAX_VERSIONS} versions`,
        );
      }
      const added = newVersion(key.versions.length + 1, this.#clock.now());
      key.versions.push(added);
      return added.version;
    });
  }

  /** Refuses ciphertexts of versions below `minDecryptionVersion`. Not above the newest, not below a retired one. */
  async config(keyName: string, options: { minDecryptionVersion: number }): Promise<void> {
    await this.#change((keyring) => {
      const key = findIn(keyring, keyName);
      const lowest = key.versions.findIndex((version) => version.material !== null) + 1;
      const wanted = options.minDecryptionVersion;
      if (!Number.isInteger(wanted) || wanted < lowest || wanted > latest(key).version) {
        throw new SecurityError(
          'INVALID_ARGUMENT',
          `cannot set minDecryptionVersion of "${keyName}" to ${wanted}: it must be ${lowest} to ${latest(key).version}`,
        );
      }
      key.minDecryptionVersion = wanted;
    });
  }

  /**
   * Destroys versions 1 to `throughVersion` for ever. They must be below `minDecryptionVersion` first: whoever still
   * needs them has then noticed.
   */
  async retire(keyName: string, throughVersion: number): Promise<void> {
    await this.#change((keyring) => {
      const key = findIn(keyring, keyName);
      if (
        !Number.isInteger(throughVersion) ||
        throughVersion < 1 ||
        throughVersion >= key.minDecryptionVersion
      ) {
        throw new SecurityError(
          'INVALID_ARGUMENT',
          `cannot retire versions through ${throughVersion} of "${keyName}": only versions below ` +
            `minDecryptionVersion (${key.minDecryptionVersion}) may go`,
          { hint: 'rewrap what they protect, raise minDecryptionVersion, then retire' },
        );
      }
      for (const version of key.versions.slice(0, throughVersion)) version.material = null;
    });
  }

  /** What is known of a key. `KEY_NOT_FOUND`. */
  async describe(keyName: string): Promise<KeyDescription> {
    return describeKey(this.#find(keyName), (version) => this.#usedOf(keyName, version), WARN_ENCRYPTIONS);
  }

  /** Writes the exact counters and forgets the keys. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    try {
      if (this.#used.size > 0) {
        await this.#change((keyring) => {
          for (const key of keyring.keys) {
            for (const version of key.versions) version.encryptions = this.#usedOf(key.name, version);
          }
        });
      }
    } finally {
      this.#closed = true;
      this.#file?.close();
      this.#keyring = { keys: [] };
    }
  }

  #find(keyName: string): NamedKey {
    if (this.#closed)
      throw new SecurityError('CLOSED', `cannot use the key "${keyName}": the key manager is closed`);
    return findIn(this.#keyring, keyName);
  }

  #usedOf(keyName: string, version: KeyVersion): number {
    return this.#used.get(`${keyName} ${version.version}`) ?? version.encryptions;
  }

  /** Counts one encryption with the newest version and answers it, reserving a durable block first when needed. */
  async #countOne(keyName: string): Promise<KeyVersion> {
    for (;;) {
      const version = latest(this.#find(keyName));
      const used = this.#usedOf(keyName, version);
      const reserved = this.#file === undefined ? MAX_ENCRYPTIONS : version.encryptions;
      // A count never set in this process starts at the reserved one, which is spent: the crash may have used it up.
      if (used < reserved) {
        this.#used.set(`${keyName} ${version.version}`, used + 1);
        if (used + 1 >= WARN_ENCRYPTIONS) this.#warn(keyName, version.version, used + 1);
        return version;
      }
      if (used >= MAX_ENCRYPTIONS) {
        throw new SecurityError(
          'KEY_EXHAUSTED',
          `cannot encrypt with "${keyName}": version ${version.version} has made 2^32 encryptions`,
          { hint: 'rotate the key: more random nonces under one key could collide' },
        );
      }
      this.#used.set(`${keyName} ${version.version}`, used);
      await this.#change((keyring) => {
        const fresh = latest(findIn(keyring, keyName));
        // Others may have reserved, or rotated, while this one waited its turn.
        if (this.#usedOf(keyName, fresh) < fresh.encryptions) return;
        fresh.encryptions = Math.min(fresh.encryptions + COUNTER_BLOCK, MAX_ENCRYPTIONS);
      });
    }
  }

  #warn(keyName: string, version: number, encryptions: number): void {
    const id = `${keyName} ${version}`;
    if (this.#warned.has(id)) return;
    this.#warned.add(id);
    this.#onWarning?.({ keyName, version, encryptions });
  }

  /** One change at a time, on a copy: memory shows it only once it is durable, and a failed one leaves no trace. */
  #change<T>(edit: (keyring: Keyring) => T): Promise<T> {
    const turn = this.#lastChange.then(async () => {
      if (this.#closed) throw new SecurityError('CLOSED', 'cannot change keys: the key manager is closed');
      const copy = structuredClone(this.#keyring);
      const result = edit(copy);
      await this.#file?.save(copy);
      this.#keyring = copy;
      await this.#onSaved?.();
      return result;
    });
    this.#lastChange = turn.catch(() => undefined);
    return turn;
  }
}
