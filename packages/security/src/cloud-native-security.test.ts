import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { MemoryStateStore } from '@heptad/core';
import { expect, it } from 'vitest';
import { codeOf, freshDirectory } from '../test/support.ts';
import { CloudNativeSecurity } from './cloud-native-security.ts';

async function opened() {
  const directory = join(await freshDirectory(), 'security');
  const store = new MemoryStateStore();
  const security = await CloudNativeSecurity.open({ directory, store });
  const first = await security.bootstrap();
  if (first === undefined) throw new Error('a fresh store has users');
  return { directory, store, security, first };
}

it('guards: rate limit, identity, access and what the policy demands, each with its own refusal', async () => {
  const { security, first } = await opened();
  await using _ = security;
  await security.users.create({ name: 'eve', password: 'a viewer of things', roles: ['viewer'] });
  const admin = (await security.authenticate(first)).tokens?.accessToken ?? '';
  const eve =
    (await security.authenticate({ username: 'eve', password: 'a viewer of things' })).tokens?.accessToken ??
    '';
  await security.createPolicy({ name: 'api', level: 'high' });
  const high = await security.policy('api');
  const critical = await security.createPolicy({ name: 'pay', level: 'critical' });
  const request = { client: '192.0.2.1', action: 'write', resource: 'config', encrypted: false };

  expect((await security.guard(high, { ...request, token: admin }))?.principal.id).toBe('admin');
  expect(await codeOf(security.guard(high, request))).toBe('POLICY_VIOLATION');
  expect(await codeOf(security.guard(high, { ...request, token: eve }))).toBe('FORBIDDEN');
  expect(await codeOf(security.guard(high, { ...request, token: 'nonsense' }))).toBe('TOKEN_INVALID');
  expect(await codeOf(security.guard(critical, { ...request, token: admin }))).toBe('POLICY_VIOLATION');
  await security.guard(critical, { ...request, token: admin, encrypted: true });
  const flood = await Promise.all(
    Array.from({ length: 400 }, () => codeOf(security.guard(high, { ...request, client: 'x' }))),
  );
  expect(flood.filter((code) => code === 'RATE_LIMITED').length).toBeGreaterThan(90);

  const { records: items } = await security.auditLogs({ resource: 'config' });
  expect(items.map(({ event }) => [event.principal.id, event.decision])).toEqual([
    ['admin', 'allowed'],
    ['eve', 'denied'],
    ['admin', 'allowed'],
  ]);
  expect(await security.verifyAuditLog()).toMatchObject({ intact: true });
});

it('keeps its keys, users, policies and log over a restart, and shows no secret anywhere', async () => {
  const { directory, store, security, first } = await opened();
  await security.generateEncryptionKey('orders');
  const sealed = await security.encrypt('orders', 'four pears', { tenant: 'a' });
  const { tokens } = await security.authenticate(first);
  await security.createPolicy({ name: 'api', level: 'high' });
  const shown =
    inspect(security, { depth: 20, showHidden: true }) + inspect(await security.status(), { depth: 20 });
  await security[Symbol.asyncDispose]();

  await using again = await CloudNativeSecurity.open({ directory, store });
  expect(await again.bootstrap()).toBeUndefined();
  expect(Buffer.from(await again.decrypt('orders', sealed, { tenant: 'a' })).toString()).toBe('four pears');
  expect((await again.authenticate({ token: tokens?.accessToken ?? '' })).principal.id).toBe('admin');
  expect(await again.status()).toMatchObject({
    users: 1,
    policies: [{ name: 'api', level: 'high' }],
    advice: [],
  });
  expect(await again.verifyAuditLog()).toMatchObject({ intact: true });

  const files = await readdir(directory, { recursive: true, withFileTypes: true });
  const contents = await Promise.all(
    files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'utf8')),
  );
  for (const secret of [first.password, tokens?.refreshToken ?? '-', 'four pears']) {
    expect(shown + contents.join('\n')).not.toContain(secret);
  }
});

it('records every login, failed ones without what was typed as the name', async () => {
  const { security, first } = await opened();
  await using _ = security;
  await security.authenticate({ ...first, client: '192.0.2.1' });
  await codeOf(security.authenticate({ username: 'admin', password: 'wrong' }));
  await codeOf(security.authenticate({ username: 'my-secret-password', password: 'admin' }));
  const { records: items } = await security.auditLogs({ action: 'login' });
  expect(items.map(({ event }) => [event.principal.id, event.decision, event.because?.[0]])).toEqual([
    ['unknown', 'denied', 'AUTHENTICATION_FAILED'],
    ['admin', 'denied', 'AUTHENTICATION_FAILED'],
    ['admin', 'allowed', undefined],
  ]);
});

it('records the first of repeated LOW reads, not every poll of a console', async () => {
  const { security, first } = await opened();
  await using _ = security;
  const { principal } = await security.authenticate(first);
  for (let poll = 0; poll < 50; poll += 1) await security.authorize(principal, 'read', 'services');
  expect((await security.auditLogs({ resource: 'services' })).records).toHaveLength(1);
});
