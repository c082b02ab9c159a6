// CloudNativeSecurity: the parts of this package wired together, one object for a program or a platform.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Clock,
  type Decision,
  MemoryStateStore,
  type Principal,
  Resources,
  type StateStore,
  systemClock,
} from '@heptad/core';
import { AccessControl } from './access/access-control.ts';
import { AuditLog } from './audit/audit-log.ts';
import type { AuditPage, AuditQuery } from './audit/audit-reader.ts';
import { loadSigningKey } from './audit/checkpoint.ts';
import type { AuditEvent, AuditRecord } from './audit/record.ts';
import type { AuditVerification } from './audit/verify.ts';
import { stateStoreWitness } from './audit/witness.ts';
import { SecurityError } from './errors.ts';
import { makePrivateDirectory } from './files.ts';
import { type Authenticated, TokenService } from './identity/tokens.ts';
import { UserDirectory } from './identity/users.ts';
import type { KeyDescription } from './keys/key-description.ts';
import { KeyManager } from './keys/key-manager.ts';
import { type RateLimitDecision, RateLimiter, type RateLimiterOptions } from './limit/rate-limiter.ts';
import {
  LEVEL_REQUIREMENTS,
  type PolicyOptions,
  type Protection,
  SecurityPolicy,
} from './policy/security-policy.ts';
import { Redactor } from './redact/redactor.ts';
import type {
  AuthenticationResult,
  CloudNativeSecurityOptions,
  Credentials,
  GuardedRequest,
  RequestFacts,
  SecurityStatus,
} from './security-face.ts';

/** Of a `LOW` access the log keeps the first by each principal, action and resource in this time, not every poll. */
const LOW_AUDIT_PERIOD_MS: number = 10 * 60 * 1_000;
/** Per client; a console tab with its charts makes some 100 requests a minute. */
const DEFAULT_RATE: RateLimiterOptions = { limit: 1_200, periodMs: 60_000, burst: 300 };

/**
 * Identity, access, keys, rate limits, policies and audit in one object over the real parts, each of which is public too.
 *
 * @example
 * ```ts
 * import { mkdtemp } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { CloudNativeSecurity } from '@heptad/security';
 *
 * await using security = await CloudNativeSecurity.open({ directory: await mkdtemp(join(tmpdir(), 'security-')) });
 * const first = await security.bootstrap();
 * if (first === undefined) throw new Error('there are users already');
 * const { principal } = await security.authenticate(first);
 * console.log((await security.authorize(principal, 'write', 'config')).allowed); // true
 * ```
 */
export class CloudNativeSecurity implements AsyncDisposable {
  readonly users: UserDirectory;
  readonly tokens: TokenService;
  readonly access: AccessControl;
  readonly keys: KeyManager;
  readonly audit: AuditLog;
  readonly limiter: RateLimiter;
  readonly redactor: Redactor;
  readonly #policies: Resources<'SecurityPolicy'>;
  readonly #lowAudit: RateLimiter;
  readonly #ownStore: MemoryStateStore | undefined;

  private constructor(
    options: CloudNativeSecurityOptions,
    store: StateStore,
    clock: Clock,
    keys: KeyManager,
    audit: AuditLog,
    redactor: Redactor,
  ) {
    this.keys = keys;
    this.audit = audit;
    this.redactor = redactor;
    this.users = new UserDirectory({ store, clock, onRevoked: (user) => this.tokens.endAll(user) });
    this.tokens = new TokenService({ store, clock, keys, users: this.users });
    this.access = new AccessControl(options.access);
    this.limiter = new RateLimiter({ ...(options.rateLimit ?? DEFAULT_RATE), clock });
    this.#lowAudit = new RateLimiter({ limit: 1, periodMs: LOW_AUDIT_PERIOD_MS, clock });
    this.#policies = new Resources(store, 'SecurityPolicy', { clock });
    this.#ownStore = store instanceof MemoryStateStore && options.store === undefined ? store : undefined;
  }

  /** Opens keyring and audit log, or begins them. Errors: those of {@link KeyManager.open} and {@link AuditLog.open}. */
  static async open(options: CloudNativeSecurityOptions): Promise<CloudNativeSecurity> {
    const clock = options.clock ?? systemClock;
    const store = options.store ?? new MemoryStateStore({ clock });
    await makePrivateDirectory(options.directory);
    const redactor = new Redactor();
    const signingKey = await loadSigningKey(join(options.directory, 'audit-signing.pem'));
    const keys = await KeyManager.open({
      path: join(options.directory, 'keyring.json'),
      clock,
      ...(options.root === undefined ? {} : { root: options.root }),
      ...(options.onKeyringSaved === undefined ? {} : { onSaved: options.onKeyringSaved }),
    });
    try {
      const directory = join(options.directory, 'audit');
      const witness = stateStoreWitness(store, options.auditName);
      const audit = await AuditLog.open({ directory, signingKey, clock, redactor, witness });
      await writeFile(join(options.directory, 'audit-public.pem'), audit.publicKeyPem);
      return new CloudNativeSecurity(options, store, clock, keys, audit, redactor);
    } catch (error) {
      await keys[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The first admin with a generated password, once; undefined when there are users. See {@link UserDirectory.bootstrap}. */
  async bootstrap(): Promise<{ readonly username: string; readonly password: string } | undefined> {
    const first = await this.users.bootstrap();
    if (first === undefined) return undefined;
    await this.record({
      principal: { id: 'heptad', type: 'service' },
      action: 'user.bootstrap',
      resource: `security/users/${first.username}`,
      decision: 'allowed',
      level: 'HIGH',
    });
    return first;
  }

  /** Makes or replaces a named policy, kept as a SecurityPolicy resource. */
  async createPolicy(options: PolicyOptions): Promise<SecurityPolicy> {
    const policy = new SecurityPolicy(options);
    await this.#policies.apply({ name: policy.name, spec: policy.toSpec() });
    return policy;
  }

  /** The policy of that name. `NOT_FOUND`. */
  async policy(name: string): Promise<SecurityPolicy> {
    const { spec } = await this.#policies.get(name);
    return policyOf(name, spec);
  }

  /** Makes a named encryption key. `KEY_EXISTS`. */
  async generateEncryptionKey(name: string): Promise<KeyDescription> {
    await this.keys.createKey(name);
    await this.record({
      principal: { id: 'heptad', type: 'service' },
      action: 'key.create',
      resource: `security/keys/${name}`,
      decision: 'allowed',
      level: 'HIGH',
    });
    return this.keys.describe(name);
  }

  /** Encrypts bytes or text: see {@link KeyManager.encrypt}. */
  encrypt(
    keyName: string,
    plaintext: Uint8Array | string,
    context?: Readonly<Record<string, string>>,
  ): Promise<string> {
    return this.keys.encrypt(
      keyName,
      typeof plaintext === 'string' ? Buffer.from(plaintext) : plaintext,
      context,
    );
  }

  /** Opens a ciphertext: see {@link KeyManager.decrypt}. */
  decrypt(
    keyName: string,
    ciphertext: string,
    context?: Readonly<Record<string, string>>,
  ): Promise<Uint8Array> {
    return this.keys.decrypt(keyName, ciphertext, context);
  }

  /** Logs a user in (recorded, also when it fails), or tells whom a token speaks for. Errors of users and tokens. */
  async authenticate(credentials: Credentials): Promise<AuthenticationResult> {
    if ('token' in credentials) return { principal: (await this.tokens.verify(credentials.token)).principal };
    const { username, password, client } = credentials;
    const event = {
      action: 'login',
      resource: 'security/self',
      level: 'HIGH',
      ...(client === undefined ? {} : { client }),
    } as const;
    try {
      const user = await this.users.authenticate(username, password, client);
      const tokens = await this.tokens.issue(user);
      const principal = { id: user.name, type: 'user', roles: user.roles } as const;
      await this.record({ ...event, principal: { id: user.name, type: 'user' }, decision: 'allowed' });
      return { principal, tokens };
    } catch (error) {
      if (error instanceof SecurityError && error.code.startsWith('AUDIT')) throw error;
      // The name only as far as it can be one: people type passwords into the name field.
      const id = (await this.users.find(username).catch(() => undefined))?.name ?? 'unknown';
      const code = error instanceof SecurityError ? error.code : 'ERROR';
      await this.record({
        ...event,
        principal: { id, type: 'anonymous' },
        decision: 'denied',
        because: [code],
      });
      throw error;
    }
  }

  /** Decides access and records the decision as its audit level says, before it is answered. */
  authorize(
    principal: Principal,
    action: string,
    resource: string,
    context?: Readonly<Record<string, unknown>>,
    more: RequestFacts = {},
  ): Promise<Decision> {
    return this.#decide(principal, action, resource, { context, more, recordAll: false });
  }

  /** Takes one request from the client's allowance. */
  checkRateLimit(client: string, cost?: number): RateLimitDecision {
    return this.limiter.check(client, cost);
  }

  /**
   * Lets a request through or refuses it: rate limit, then identity, then access, then what the policy demands.
   *
   * Errors: `RATE_LIMITED` (details: `retryAfterMs`), `TOKEN_INVALID`, `TOKEN_EXPIRED`, `FORBIDDEN`, `POLICY_VIOLATION`.
   */
  async guard(policy: SecurityPolicy, request: GuardedRequest): Promise<Authenticated | undefined> {
    const { action, resource, client, context, requestId } = request;
    const rate = this.checkRateLimit(client);
    if (!rate.allowed) {
      throw new SecurityError('RATE_LIMITED', `too many requests from ${client}`, {
        hint: `try again in ${Math.ceil(rate.retryAfterMs / 1_000)} s`,
        details: { retryAfterMs: rate.retryAfterMs },
        retryable: true,
      });
    }
    const who = request.token === undefined ? undefined : await this.tokens.verify(request.token);
    const given: Partial<Record<Protection, boolean>> = {
      rateLimit: true,
      encryption: request.encrypted,
      authentication: who !== undefined,
    };
    policy.enforce({ ...given, authorization: true, audit: true });
    if (who === undefined) return undefined;
    const more = { client, ...(requestId === undefined ? {} : { requestId }) };
    if (!policy.requires('authorization')) return who;
    const recordAll = policy.requires('audit');
    const { allowed } = await this.#decide(who.principal, action, resource, { context, more, recordAll });
    if (allowed) return who;
    throw forbidden(who.principal, action, resource);
  }

  /** Writes one record to the audit log. */
  record(event: AuditEvent): Promise<AuditRecord> {
    return this.audit.append(event);
  }

  /** Records, newest first. */
  auditLogs(query?: AuditQuery): Promise<AuditPage> {
    return this.audit.query(query);
  }

  /** Proves the audit log intact, or tells what was done to it and where. */
  verifyAuditLog(): Promise<AuditVerification> {
    return this.audit.verify();
  }

  /** What there is, and what should be done. */
  async status(): Promise<SecurityStatus> {
    const keys = await Promise.all(this.keys.list().map((name) => this.keys.describe(name)));
    const users = await this.users.list();
    const { items } = await this.#policies.list();
    const tired = keys
      .filter((key) => key.rotationAdvised)
      .map((key) => `rotate the key "${key.name}": it has made over 2^31 encryptions`);
    const unused = users.length === 0 ? ['create the first admin: nobody can log in yet'] : [];
    return {
      users: users.length,
      keys,
      policies: items.map(({ name, spec }) => ({ name, level: spec.level, requires: demanded(spec) })),
      audit: { records: this.audit.head.seq, headHash: this.audit.head.hash },
      rateLimitedClients: this.limiter.size,
      advice: [...unused, ...tired],
    };
  }

  /** Signs and closes the audit log and the keyring; the store given stays open. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.audit[Symbol.asyncDispose]();
    await this.keys[Symbol.asyncDispose]();
    await this.#ownStore?.[Symbol.asyncDispose]();
  }

  async #decide(
    principal: Principal,
    action: string,
    resource: string,
    how: {
      readonly context: Readonly<Record<string, unknown>> | undefined;
      readonly more: RequestFacts;
      readonly recordAll: boolean;
    },
  ): Promise<Decision> {
    const decision = this.access.decide(principal, action, resource, how.context);
    if (!how.recordAll && !this.#worthRecording(decision, principal, action, resource)) return decision;
    await this.record({
      principal: { id: principal.id, type: principal.type },
      action,
      resource,
      decision: decision.allowed ? 'allowed' : 'denied',
      level: decision.auditLevel,
      because: decision.because,
      ...how.more,
    });
    return decision;
  }

  #worthRecording(decision: Decision, principal: Principal, action: string, resource: string): boolean {
    if (!decision.allowed) return true;
    if (decision.auditLevel === 'NONE') return false;
    return (
      decision.auditLevel !== 'LOW' || this.#lowAudit.check(`${principal.id} ${action} ${resource}`).allowed
    );
  }
}

function demanded(spec: ReturnType<SecurityPolicy['toSpec']>): Protection[] {
  const pairs: [boolean, Protection][] = [
    [spec.encryptionRequired, 'encryption'],
    [spec.authenticationRequired, 'authentication'],
    [spec.authorizationRequired, 'authorization'],
    [spec.auditRequired, 'audit'],
    [spec.rateLimitRequired, 'rateLimit'],
  ];
  return pairs.filter(([required]) => required).map(([, protection]) => protection);
}

/** A stored spec may demand more than its level; what it says less than its level does not count. */
function policyOf(name: string, spec: ReturnType<SecurityPolicy['toSpec']>): SecurityPolicy {
  const also = demanded(spec).filter((protection) => !LEVEL_REQUIREMENTS[spec.level].includes(protection));
  return new SecurityPolicy({ name, level: spec.level, also });
}

function forbidden(principal: Principal, action: string, resource: string): SecurityError {
  return new SecurityError('FORBIDDEN', `"${principal.id}" may not ${action} ${resource}`, {
    hint: `ask an admin for a role that may; yours: ${principal.roles.join(', ') || 'none'}`,
  });
}
