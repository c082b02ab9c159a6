import type { KeyRange, Principal } from '@heptad/core';
import { expect, it } from 'vitest';
import { decideStateAccess } from './state-access.ts';

const orders: Principal = { id: 'orders', type: 'service', roles: ['service'] };

function may(verb: 'read' | 'write', range: KeyRange, siblings: string[] = []): boolean {
  return decideStateAccess(orders, { verb, keys: [range] }, siblings).allowed;
}

it('gives a service its own keys, elections and locks', () => {
  for (const key of [
    '/apps/orders/cursor',
    '/elections/orders',
    '/elections/orders-master',
    '/elections/orders/eu',
    '/locks/orders',
  ]) {
    expect([key, may('write', { key }), may('read', { key })]).toEqual([key, true, true]);
  }
  expect(may('read', { key: '/elections/orders-master', prefix: true })).toBe(true);
  expect(may('write', { key: '/apps/orders/', prefix: true })).toBe(true);
});

it('denies it everything else', () => {
  for (const key of [
    '/apps/ordersX/a',
    '/apps/orders',
    '/elections/ordersX',
    '/elections/billing',
    '/elections/',
    '/elections',
    '/locks/ordersX',
    '/security/users/admin',
    '/resources/Service/default/orders',
    '/',
    '',
  ]) {
    expect([key, may('write', { key }), may('read', { key, prefix: true })]).toEqual([key, false, false]);
  }
});

it('denies the elections of another service whose name begins like its own', () => {
  const siblings = ['orders-archive'];
  for (const name of ['orders-archive', 'orders-archive-master', 'orders-archive/eu']) {
    expect([name, may('write', { key: `/elections/${name}` }, siblings)]).toEqual([name, false]);
  }
  expect(may('write', { key: '/elections/orders-archiver' }, siblings)).toBe(true);
  expect(may('write', { key: '/elections/orders-master' }, siblings)).toBe(true);
});

it('denies ranges that may leave what they begin in', () => {
  expect(may('read', { key: '/apps/orders/', end: '/zzz' })).toBe(false);
  expect(may('read', { key: '/apps/', prefix: true })).toBe(false);
  expect(may('write', { key: '/elections/orders', prefix: true })).toBe(false);
  expect(may('write', { key: '/elections/orders/', prefix: true })).toBe(true);
});

it('denies a request whole when one of its keys is not its own, and compaction always', () => {
  const keys = [{ key: '/apps/orders/a' }, { key: '/apps/billing/a' }];
  expect(decideStateAccess(orders, { verb: 'read', keys }).allowed).toBe(false);
  expect(decideStateAccess(orders, { verb: 'compact', keys: [] }).allowed).toBe(false);
  expect(decideStateAccess(orders, { verb: 'lease', keys: [] }).allowed).toBe(true);
});

it('gives nodes and administrators the whole store', () => {
  for (const role of ['node', 'admin']) {
    const principal: Principal = { id: role, type: 'user', roles: [role] };
    const access = { verb: 'write', keys: [{ key: '', prefix: true }] } as const;
    expect(decideStateAccess(principal, access).allowed).toBe(true);
    expect(decideStateAccess(principal, { verb: 'compact', keys: [] }).allowed).toBe(true);
  }
});
