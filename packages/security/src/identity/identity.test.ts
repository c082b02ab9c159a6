import { createHmac, createSign, generateKeyPairSync } from 'node:crypto';
import { inspect } from 'node:util';
import { MemoryStateStore } from '@heptad/core';
import { SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { codeOf, ManualClock } from '../../test/support.ts';
import { KeyManager } from '../keys/key-manager.ts';
import { hashPassword, verifyPassword } from './password.ts';
import { TokenService } from './tokens.ts';
import { UserDirectory } from './users.ts';

/** Cheap enough for tests; the product's default is checked below. */
const CHEAP = { memoryKib: 64, passes: 1, parallelism: 1 };
const PASSWORD = 'four random words here';
const MINUTE = 60_000;

function world() {
  const clock = new ManualClock();
  const store = new MemoryStateStore({ clock });
  const keys = KeyManager.inMemory({ clock });
  const users: UserDirectory = new UserDirectory({
    store,
    clock,
    passwordCost: CHEAP,
    onRevoked: (user) => tokens.endAll(user),
  });
  const tokens = new TokenService({ store, keys, users, clock });
  return { clock, store, keys, users, tokens };
}

async function loggedIn() {
  const all = world();
  await all.users.create({ name: 'root', password: PASSWORD, roles: ['admin'] });
  const user = await all.users.create({ name: 'ada', password: PASSWORD, roles: ['operator'] });
  return { ...all, user, pair: await all.tokens.issue(user) };
}

const stored = async (store: MemoryStateStore): Promise<string> =>
  (await store.range({ key: '', prefix: true })).kvs.map((kv) => `${kv.key} ${kv.value}`).join('\n');

describe('passwords', () => {
  it('are hashed with argon2id at OWASP cost, each with its own salt', async () => {
    const [a, b] = await Promise.all([hashPassword(PASSWORD), hashPassword(PASSWORD)]);
    expect(a).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(a).not.toBe(b);
    expect(await verifyPassword(PASSWORD, a)).toEqual({ matches: true, outdated: false });
    expect((await verifyPassword(`${PASSWORD}!`, a)).matches).toBe(false);
  });

  it('are the same however an accent was typed', async () => {
    const hashed = await hashPassword('cafe\u0301 au lait', CHEAP);
    expect((await verifyPassword('caf\u00e9 au lait', hashed, CHEAP)).matches).toBe(true);
  });

  it('are hashed anew at login when the cost has changed', async () => {
    const clock = new ManualClock();
    const store = new MemoryStateStore({ clock });
    const old = new UserDirectory({ store, clock, passwordCost: CHEAP });
    await old.create({ name: 'ada', password: PASSWORD, roles: ['viewer'] });
    const dearer = new UserDirectory({ store, clock, passwordCost: { ...CHEAP, passes: 2 } });
    await dearer.authenticate('ada', PASSWORD);
    expect(await stored(store)).toContain('m=64,t=2,p=1');
    await dearer.authenticate('ada', PASSWORD);
  });

  it('must be worth something', async () => {
    const { users } = world();
    for (const password of ['short', 'aaaaaaaaaaaaaaaa', 'ada.lovelace-1815', 'x'.repeat(2_000)]) {
      expect(await codeOf(users.create({ name: 'ada.lovelace', password, roles: ['viewer'] }))).toBe(
        'WEAK_PASSWORD',
      );
    }
  });
});

describe('users', () => {
  it('the first admin is made once, by one of several callers, with a password nobody else knows', async () => {
    const { users, store } = world();
    const made = (await Promise.all([users.bootstrap(), users.bootstrap(), users.bootstrap()])).filter(
      Boolean,
    );
    expect(made).toHaveLength(1);
    expect(await users.bootstrap()).toBeUndefined();
    const first = made[0];
    expect(first?.password).toMatch(/^([a-zA-Z0-9]{5}-){3}[a-zA-Z0-9]{5}$/);
    expect(await stored(store)).not.toContain(first?.password);
    expect((await users.authenticate('admin', first?.password ?? '')).roles).toEqual(['admin']);
  });

  it('wrong name, wrong password and disabled user fail with the same words', async () => {
    const { users } = await loggedIn();
    await users.setDisabled('ada', true);
    const messages = new Set<string>();
    for (const [name, password] of [
      ['nobody', PASSWORD],
      ['root', 'wrong'],
      ['ada', PASSWORD],
    ] as const) {
      await users
        .authenticate(name, password)
        .catch((error: unknown) => messages.add(inspect(error).split('\n')[0] ?? ''));
    }
    expect([...messages]).toEqual(['SecurityError: login failed: the user name or the password is wrong']);
  });

  it('guessing is slowed after five attempts, also when all come at once; the right password counts nothing', async () => {
    const { users, clock } = await loggedIn();
    const attempts = await Promise.all(
      Array.from({ length: 20 }, () => codeOf(users.authenticate('ada', 'wrong', '198.51.100.7'))),
    );
    expect(attempts.filter((code) => code === 'AUTHENTICATION_FAILED')).toHaveLength(5);
    expect(attempts.filter((code) => code === 'TOO_MANY_ATTEMPTS')).toHaveLength(15);
    expect(await codeOf(users.authenticate('ada', PASSWORD, '198.51.100.7'))).toBe('TOO_MANY_ATTEMPTS');
    // Refused guesses must not lock the owner out elsewhere.
    for (let login = 0; login < 100; login += 1) await users.authenticate('ada', PASSWORD, '192.0.2.1');
    clock.advance(30_000);
    await users.authenticate('ada', PASSWORD, '198.51.100.7');
  });

  it('the last admin can neither be removed, nor disabled, nor demoted', async () => {
    const { users } = await loggedIn();
    expect(await codeOf(users.remove('root'))).toBe('LAST_ADMIN');
    expect(await codeOf(users.setDisabled('root', true))).toBe('LAST_ADMIN');
    expect(await codeOf(users.setRoles('root', ['viewer']))).toBe('LAST_ADMIN');
    await users.setRoles('ada', ['admin']);
    await users.remove('root');
  });

  it('refuses bad names, unknown roles and doubles', async () => {
    const { users } = await loggedIn();
    const create = (name: string, roles: string[]) =>
      codeOf(users.create({ name, password: PASSWORD, roles }));
    expect(await create('Ada', ['viewer'])).toBe('INVALID_ARGUMENT');
    expect(await create('a/b', ['viewer'])).toBe('INVALID_ARGUMENT');
    expect(await create('bob', ['root'])).toBe('INVALID_ARGUMENT');
    expect(await create('bob', [])).toBe('INVALID_ARGUMENT');
    expect(await create('ada', ['viewer'])).toBe('USER_EXISTS');
  });
});

describe('access tokens', () => {
  it('speak for the user for 15 minutes', async () => {
    const { tokens, pair, clock } = await loggedIn();
    expect((await tokens.verify(pair.accessToken)).principal).toEqual({
      id: 'ada',
      type: 'user',
      roles: ['operator'],
    });
    expect(pair.expiresAt - clock.now()).toBeLessThanOrEqual(15 * MINUTE);
    clock.advance(14 * MINUTE);
    await tokens.verify(pair.accessToken);
    clock.advance(2 * MINUTE);
    expect(await codeOf(tokens.verify(pair.accessToken))).toBe('TOKEN_EXPIRED');
  });

  it('end at once with logout, a new password, disabling or removal; roles follow at once', async () => {
    const { tokens, users, pair, user } = await loggedIn();
    await users.setRoles('ada', ['viewer']);
    expect((await tokens.verify(pair.accessToken)).principal.roles).toEqual(['viewer']);
    await users.setPassword('ada', 'another good password');
    expect(await codeOf(tokens.verify(pair.accessToken))).toBe('TOKEN_INVALID');
    const second = await tokens.issue(user);
    const session = (await tokens.sessions('ada'))[0];
    await tokens.endSession('ada', session?.id ?? '');
    expect(await codeOf(tokens.verify(second.accessToken))).toBe('TOKEN_INVALID');
    const third = await tokens.issue(user);
    await users.remove('ada');
    expect(await codeOf(tokens.verify(third.accessToken))).toBe('TOKEN_INVALID');
  });

  it('are refused when forged: other algorithm, type, audience, issuer, key or content', async () => {
    const { tokens, pair, clock } = await loggedIn();
    const [header = '', payload = '', signature = ''] = pair.accessToken.split('.');
    const decode = (part: string): Record<string, unknown> =>
      JSON.parse(Buffer.from(part, 'base64url').toString());
    const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
    const kid = String(decode(header).kid);
    const sid = String(decode(payload).sid);
    const { privateKey } = generateKeyPairSync('ed25519');
    const now = Math.floor(clock.now() / 1_000);
    const stranger = await new SignJWT({ sid })
      .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid })
      .setIssuer('heptad')
      .setAudience('heptad-api')
      .setSubject('root')
      .setJti('x')
      .setIssuedAt(now)
      .setExpirationTime(now + 60)
      .sign(privateKey);
    const none = `${encode({ alg: 'none', typ: 'at+jwt', kid })}.${payload}.`;
    const hmacHead = `${encode({ alg: 'HS256', typ: 'at+jwt', kid })}.${payload}`;
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const rsaHead = `${encode({ alg: 'RS256', typ: 'at+jwt', kid })}.${payload}`;
    const forgeries = [
      stranger,
      none,
      `${hmacHead}.${createHmac('sha256', kid).update(hmacHead).digest('base64url')}`,
      `${rsaHead}.${createSign('sha256').update(rsaHead).sign(rsa.privateKey, 'base64url')}`,
      `${encode({ ...decode(header), typ: 'JWT' })}.${payload}.${signature}`,
      `${header}.${encode({ ...decode(payload), sub: 'root' })}.${signature}`,
      `${header}.${payload}.${signature.slice(0, -4)}AAAA`,
      `${encode({ ...decode(header), kid: '../../users/root' })}.${payload}.${signature}`,
      `${header}.${payload}`,
      'x'.repeat(100_000),
      '',
    ];
    for (const forgery of forgeries) expect(await codeOf(tokens.verify(forgery))).toBe('TOKEN_INVALID');
    await tokens.verify(pair.accessToken);
  });

  it('outlive the rotation of their signing key, and are known to another server', async () => {
    const { tokens, users, store, keys, clock, user } = await loggedIn();
    clock.advance(24 * 60 * MINUTE - MINUTE);
    const before = await tokens.issue(user);
    clock.advance(2 * MINUTE);
    const after = await tokens.issue(user);
    const kid = (token: string): unknown =>
      JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid;
    expect(kid(after.accessToken)).not.toBe(kid(before.accessToken));
    const elsewhere = new TokenService({ store, keys, users, clock });
    await elsewhere.verify(before.accessToken);
    clock.advance(2_000);
    await elsewhere.verify(after.accessToken);
  });

  it('go on with a new signing key when the keyring was replaced', async () => {
    const { users, store, clock, user } = await loggedIn();
    const restored = new TokenService({ store, users, clock, keys: KeyManager.inMemory({ clock }) });
    await restored.verify((await restored.issue(user)).accessToken);
  });
});

describe('refresh tokens', () => {
  it('are good once; a second use ends the session for both', async () => {
    const { tokens, pair } = await loggedIn();
    const next = await tokens.refresh(pair.refreshToken);
    await tokens.verify(next.accessToken);
    expect(await codeOf(tokens.refresh(pair.refreshToken))).toBe('TOKEN_REUSED');
    expect(await codeOf(tokens.refresh(next.refreshToken))).toBe('TOKEN_INVALID');
    expect(await codeOf(tokens.verify(next.accessToken))).toBe('TOKEN_INVALID');
  });

  it('two uses at the same moment are two uses', async () => {
    const { tokens, pair } = await loggedIn();
    const codes = await Promise.all([
      codeOf(tokens.refresh(pair.refreshToken)),
      codeOf(tokens.refresh(pair.refreshToken)),
    ]);
    expect(codes.toSorted()).toEqual(['TOKEN_REUSED', 'none']);
  });

  it('end after a day unused and after a week in any case', async () => {
    const { tokens, pair, clock } = await loggedIn();
    let current = pair;
    for (let hour = 0; hour < 7 * 24 - 1; hour += 12) {
      clock.advance(12 * 60 * MINUTE);
      if (hour + 12 >= 7 * 24) break;
      current = await tokens.refresh(current.refreshToken);
    }
    expect(await codeOf(tokens.refresh(current.refreshToken))).toBe('TOKEN_EXPIRED');
    const idle = await loggedIn();
    idle.clock.advance(24 * 60 * MINUTE);
    expect(await codeOf(idle.tokens.refresh(idle.pair.refreshToken))).toBe('TOKEN_EXPIRED');
  });

  it('are bounded: the session unused longest goes', async () => {
    const { tokens, pair, user, clock } = await loggedIn();
    for (let count = 0; count < 20; count += 1) {
      clock.advance(1_000);
      await tokens.issue(user);
    }
    expect(await tokens.sessions('ada')).toHaveLength(20);
    expect(await codeOf(tokens.verify(pair.accessToken))).toBe('TOKEN_INVALID');
  });
});

describe('API tokens', () => {
  const principal = { id: 'node-1', type: 'node', roles: ['node'] } as const;

  it('speak for a node or a service with scopes, until revoked or expired', async () => {
    const { tokens, clock } = world();
    const made = await tokens.createApiToken({
      principal,
      description: 'agent',
      scopes: ['state:read'],
      ttlMs: 1_000,
    });
    expect(await tokens.verify(made.token)).toMatchObject({
      kind: 'api-token',
      principal: { ...principal, attributes: { scopes: 'state:read', token: 'agent' } },
    });
    clock.advance(1_000);
    expect(await codeOf(tokens.verify(made.token))).toBe('TOKEN_EXPIRED');
    const other = await tokens.createApiToken({ principal, description: 'agent' });
    await tokens.revokeApiToken(other.info.id);
    expect(await codeOf(tokens.verify(other.token))).toBe('TOKEN_INVALID');
    expect(await codeOf(tokens.revokeApiToken(other.info.id))).toBe('NOT_FOUND');
  });

  it('of a person never have more roles than the person, and go with them', async () => {
    const { tokens, users } = await loggedIn();
    const made = await tokens.createApiToken({
      principal: { id: 'ada', type: 'user', roles: ['admin', 'operator'] },
      description: 'ci',
    });
    expect((await tokens.verify(made.token)).principal.roles).toEqual(['operator']);
    await users.setDisabled('ada', true);
    expect(await codeOf(tokens.verify(made.token))).toBe('TOKEN_INVALID');
  });
});

describe('secrets', () => {
  it('are nowhere in the store, in inspect or in errors', async () => {
    const { tokens, users, store, pair, keys } = await loggedIn();
    const api = await tokens.createApiToken({
      principal: { id: 'x', type: 'service', roles: [] },
      description: 'd',
    });
    await tokens.refresh(pair.refreshToken);
    const seen = [
      await stored(store),
      ...[tokens, users, keys].map((part) => inspect(part, { depth: 20, showHidden: true })),
    ];
    for (const token of [`${pair.accessToken}x`, `${api.token.slice(0, -1)}_`]) {
      seen.push(inspect(await tokens.verify(token).catch((error: unknown) => error), { depth: 20 }));
    }
    seen.push(
      inspect(await users.authenticate('ada', `${PASSWORD}x`).catch((error: unknown) => error), {
        depth: 20,
      }),
    );
    const secrets = [
      PASSWORD,
      api.token.slice(-43),
      pair.refreshToken.slice(-43),
      pair.accessToken.split('.')[2] ?? '',
    ];
    for (const secret of secrets) expect(seen.join('\n')).not.toContain(secret);
    expect(seen.join('\n')).not.toContain('PRIVATE KEY');
  });
});
