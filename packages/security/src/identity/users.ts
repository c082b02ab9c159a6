// UserDirectory: people, their password hashes and roles; logins are throttled.

import { type Clock, type StateStore, systemClock } from '@heptad/core';
import { z } from 'zod';
import { USER_ROLES } from '../access/matrix.ts';
import { SecurityError } from '../errors.ts';
import type { Argon2Cost } from '../keys/argon2.ts';
import { RateLimiter } from '../limit/rate-limiter.ts';
import {
  generatePassword,
  hashPassword,
  PASSWORD_COST,
  requireAcceptable,
  verifyPassword,
} from './password.ts';
import { Records } from './records.ts';

/** The first user's name. */
export const FIRST_ADMIN = 'admin';
/** Users are people of a team; a directory of customers belongs into an application. */
const MAX_USERS = 10_000;
/** Wrong passwords from one client for one user: 5 at once, then one every 30 s. */
const PAIR_LIMIT = { limit: 2, periodMs: 60_000, burst: 5 } as const;
/** From everywhere for one user: slows a distributed guess, yet leaves the owner room. */
const USER_LIMIT = { limit: 20, periodMs: 60_000, burst: 60 } as const;
/** From one client for all users: slows the trying of one password on many names. */
const CLIENT_LIMIT = { limit: 20, periodMs: 60_000, burst: 60 } as const;

/** A user as stored. */
interface UserRecord {
  readonly name: string;
  readonly roles: readonly string[];
  readonly passwordHash: string;
  readonly createdAt: number;
  readonly passwordChangedAt: number;
  readonly disabled: boolean;
}

const userRecord: z.ZodType<UserRecord> = z.strictObject({
  name: z.string(),
  roles: z.array(z.string()),
  passwordHash: z.string(),
  createdAt: z.number().int(),
  passwordChangedAt: z.number().int(),
  disabled: z.boolean(),
});

/** A user as shown: without the hash. */
export interface User {
  readonly name: string;
  readonly roles: readonly string[];
  readonly createdAt: number;
  readonly passwordChangedAt: number;
  readonly disabled: boolean;
}

/** Options of {@link UserDirectory}. */
export interface UserDirectoryOptions {
  /** Users are kept under `/security/users/`. */
  readonly store: StateStore;
  readonly clock?: Clock;
  /** Cost of new password hashes; at a login an older hash is made anew. Default OWASP's (19 MiB, 2 passes). */
  readonly passwordCost?: Argon2Cost;
  /** Called when a user's sessions must end: removed, disabled, or with a new password. */
  readonly onRevoked?: (user: string) => Promise<void>;
}

/** People who may log in. */
export class UserDirectory {
  readonly #users: Records<UserRecord>;
  readonly #clock: Clock;
  readonly #cost: Argon2Cost;
  readonly #onRevoked: (user: string) => Promise<void>;
  readonly #pairs: RateLimiter;
  readonly #names: RateLimiter;
  readonly #clients: RateLimiter;
  /** Checked against when there is no such user, so that the answer takes as long. */
  #decoy: Promise<string> | undefined;

  constructor(options: UserDirectoryOptions) {
    this.#users = new Records(options.store, '/security/users/', (value) => userRecord.parse(value));
    this.#clock = options.clock ?? systemClock;
    this.#cost = options.passwordCost ?? PASSWORD_COST;
    this.#onRevoked = options.onRevoked ?? (async () => {});
    this.#pairs = new RateLimiter({ ...PAIR_LIMIT, clock: this.#clock });
    this.#names = new RateLimiter({ ...USER_LIMIT, clock: this.#clock });
    this.#clients = new RateLimiter({ ...CLIENT_LIMIT, clock: this.#clock });
  }

  /**
   * Makes the first admin when there is no user yet. The generated password is in the answer and nowhere else: show it
   * once. `undefined` when there are users already. Of several callers at once one makes it.
   */
  async bootstrap(): Promise<{ readonly username: string; readonly password: string } | undefined> {
    if ((await this.#users.list()).length > 0) return undefined;
    const password = generatePassword();
    const made = await this.#users.create(
      FIRST_ADMIN,
      await this.#newRecord(FIRST_ADMIN, password, ['admin']),
    );
    return made === 'created' ? { username: FIRST_ADMIN, password } : undefined;
  }

  /** Adds a user. `USER_EXISTS`, `WEAK_PASSWORD`, `INVALID_ARGUMENT` (name or role). */
  async create(options: { name: string; password: string; roles: readonly string[] }): Promise<User> {
    const { name, password, roles } = options;
    if (!/^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/.test(name)) {
      throw new SecurityError('INVALID_ARGUMENT', `cannot create user ${JSON.stringify(name)}: bad name`, {
        hint: 'use 1 to 63 lower-case letters, digits, dots, hyphens and underscores',
      });
    }
    requireRoles(name, roles);
    requireAcceptable(password, name);
    if ((await this.#users.list()).length >= MAX_USERS) {
      throw new SecurityError(
        'INVALID_ARGUMENT',
        `cannot create user "${name}": the limit is ${MAX_USERS} users`,
      );
    }
    const record = await this.#newRecord(name, password, roles);
    if ((await this.#users.create(name, record)) === 'created') return shown(record);
    throw new SecurityError('USER_EXISTS', `cannot create user "${name}": there is one of that name`);
  }

  /** One user. `NOT_FOUND`. */
  async get(name: string): Promise<User> {
    return shown(await this.#require(name));
  }

  /** One user, or undefined. */
  async find(name: string): Promise<User | undefined> {
    const found = await this.#users.find(name);
    return found === undefined ? undefined : shown(found.value);
  }

  /** All users by name. */
  async list(): Promise<User[]> {
    return (await this.#users.list()).map(({ value }) => shown(value));
  }

  /** Sets a new password and ends the user's sessions. `WEAK_PASSWORD`, `NOT_FOUND`. */
  async setPassword(name: string, password: string): Promise<void> {
    requireAcceptable(password, name);
    const passwordHash = await hashPassword(password, this.#cost);
    const passwordChangedAt = this.#clock.now();
    await this.#users.update(name, (user) => ({ ...user, passwordHash, passwordChangedAt }));
    this.#names.reset(shortened(name));
    await this.#onRevoked(name);
  }

  /** Sets a generated password, for somebody who has lost theirs; ends the user's sessions. Show it once. */
  async resetPassword(name: string): Promise<string> {
    const password = generatePassword();
    await this.setPassword(name, password);
    return password;
  }

  /** Replaces a user's roles; tokens given before follow at once. `LAST_ADMIN`, `NOT_FOUND`. */
  async setRoles(name: string, roles: readonly string[]): Promise<User> {
    requireRoles(name, roles);
    if (!roles.includes('admin')) await this.#requireOtherAdmin(name);
    return shown(await this.#users.update(name, (user) => ({ ...user, roles: [...new Set(roles)] })));
  }

  /** Locks a user out, or in again. `LAST_ADMIN`, `NOT_FOUND`. */
  async setDisabled(name: string, disabled: boolean): Promise<User> {
    if (disabled) await this.#requireOtherAdmin(name);
    const user = await this.#users.update(name, (current) => ({ ...current, disabled }));
    if (disabled) await this.#onRevoked(name);
    return shown(user);
  }

  /** Removes a user and ends their sessions. `LAST_ADMIN`, `NOT_FOUND`. */
  async remove(name: string): Promise<void> {
    await this.#requireOtherAdmin(name);
    if ((await this.#users.remove(name)) === 0) throw notFound(name);
    await this.#onRevoked(name);
  }

  /**
   * Checks a password.
   *
   * Errors: `AUTHENTICATION_FAILED` (the same, and after the same work, whether the name or the password is wrong or the
   * user is disabled), `TOO_MANY_ATTEMPTS` (details: `retryAfterMs`), `TOO_BUSY`.
   *
   * @param client where the attempt comes from (an address), for throttling
   */
  async authenticate(name: string, password: string, client = 'local'): Promise<User> {
    // Paid before the answer is known: attempts at the same time must not all slip through.
    this.#throttle(name, client);
    const found = await this.#users.find(name);
    const { matches, outdated } = await verifyPassword(
      password,
      found?.value.passwordHash ?? (await this.#decoyHash()),
      this.#cost,
    );
    if (found === undefined || !matches || found.value.disabled) {
      throw new SecurityError(
        'AUTHENTICATION_FAILED',
        'login failed: the user name or the password is wrong',
        {
          hint: 'check both; an admin can give you a new password',
        },
      );
    }
    this.#pairs.reset(pairOf(name, client));
    this.#names.refund(shortened(name));
    this.#clients.refund(shortened(client));
    if (outdated) await this.#rehash(found.value, password, found.revision);
    return shown(found.value);
  }

  /** A refusal takes nothing from the later allowances: refused guesses of one client must not lock the owner out. */
  #throttle(name: string, client: string): void {
    const checks = [
      () => this.#pairs.check(pairOf(name, client)),
      () => this.#clients.check(shortened(client)),
      () => this.#names.check(shortened(name)),
    ];
    for (const check of checks) {
      const { allowed, retryAfterMs } = check();
      if (allowed) continue;
      throw new SecurityError('TOO_MANY_ATTEMPTS', 'login refused: too many failed attempts', {
        hint: `try again in ${Math.ceil(retryAfterMs / 1_000)} s`,
        details: { retryAfterMs },
        retryable: true,
      });
    }
  }

  /** The password was right and its hash is of an older cost: a lost race only puts it off to the next login. */
  async #rehash(user: UserRecord, password: string, revision: number): Promise<void> {
    const passwordHash = await hashPassword(password, this.#cost);
    await this.#users.replace(user.name, { ...user, passwordHash }, revision);
  }

  #decoyHash(): Promise<string> {
    this.#decoy ??= hashPassword(generatePassword(), this.#cost);
    return this.#decoy;
  }

  async #newRecord(name: string, password: string, roles: readonly string[]): Promise<UserRecord> {
    const passwordHash = await hashPassword(password, this.#cost);
    const now = this.#clock.now();
    return {
      name,
      roles: [...new Set(roles)],
      passwordHash,
      createdAt: now,
      passwordChangedAt: now,
      disabled: false,
    };
  }

  async #require(name: string): Promise<UserRecord> {
    const found = await this.#users.find(name);
    if (found === undefined) throw notFound(name);
    return found.value;
  }

  /** Whoever removes the last admin locks everybody out of the platform. */
  async #requireOtherAdmin(name: string): Promise<void> {
    const user = await this.#require(name);
    if (!user.roles.includes('admin') || user.disabled) return;
    const admins = (await this.#users.list()).filter(
      ({ value }) => value.roles.includes('admin') && !value.disabled,
    );
    if (admins.some(({ value }) => value.name !== name)) return;
    throw new SecurityError('LAST_ADMIN', `refusing to take "${name}" away: it is the last admin`, {
      hint: 'make another user admin first',
    });
  }
}

function requireRoles(name: string, roles: readonly string[]): void {
  const unknown = roles.filter((role) => !USER_ROLES.includes(role));
  if (unknown.length === 0 && roles.length > 0) return;
  throw new SecurityError(
    'INVALID_ARGUMENT',
    `cannot give user "${name}" ${unknown.length > 0 ? `the unknown role "${unknown[0]}"` : 'no role at all'}`,
    { hint: `roles are ${USER_ROLES.join(', ')}` },
  );
}

function notFound(name: string): SecurityError {
  return new SecurityError('NOT_FOUND', `there is no user "${name}"`, {
    hint: 'list the users to see their names',
  });
}

function shown(record: UserRecord): User {
  const { passwordHash: _hidden, ...user } = record;
  return user;
}

// Names and addresses come from strangers: what is remembered of them is short.
function shortened(text: string): string {
  return `=${text.slice(0, 128)}`;
}

function pairOf(name: string, client: string): string {
  return `${shortened(name)}\n${shortened(client)}`;
}
