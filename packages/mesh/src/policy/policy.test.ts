import type { NetworkPolicySpec, Random, TrafficRuleSpec } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normalAddress, parseCidr } from './cidr.ts';
import { evaluatePolicy, type PolicySnapshot } from './network-policy.ts';
import { type RoutedRequest, route } from './traffic-rules.ts';

const service = (name: string, labels: Record<string, string> = {}): PolicySnapshot['services'][number] => ({
  name,
  ports: [],
  labels,
  mode: 'http',
});

function snapshot(...specs: NetworkPolicySpec[]): PolicySnapshot {
  return {
    policies: specs.map((spec, index) => ({ name: `p${index}`, spec })),
    services: [
      service('web', { tier: 'front' }),
      service('orders', { tier: 'back' }),
      service('db', { tier: 'data' }),
    ],
  };
}

const allowOrders: NetworkPolicySpec = {
  selector: { service: 'db' },
  ingress: [{ peers: [{ service: 'orders' }], ports: [{ port: 5432, protocol: 'TCP' }] }],
};

describe('evaluatePolicy', () => {
  it('allows everything while no policy selects anything', () => {
    expect(evaluatePolicy(snapshot(), { address: '203.0.113.9' }, { service: 'db' }, 1).allowed).toBe(true);
  });

  it('denies by default once a policy selects a service, and says why', () => {
    const decision = evaluatePolicy(snapshot(allowOrders), { service: 'web' }, { service: 'db' }, 5432);
    expect(decision).toEqual({
      allowed: false,
      because: 'no ingress rule of policy p0 allows service web to service db on TCP port 5432',
    });
    expect(
      evaluatePolicy(snapshot(allowOrders), { address: '10.0.0.1' }, { service: 'db' }, 5432).allowed,
    ).toBe(false);
    expect(evaluatePolicy(snapshot(allowOrders), { service: 'web' }, { service: 'orders' }, 80).allowed).toBe(
      true,
    );
  });

  it('allows what a rule names: peer and port and protocol', () => {
    const rules = snapshot(allowOrders);
    expect(evaluatePolicy(rules, { service: 'orders' }, { service: 'db' }, 5432).allowed).toBe(true);
    expect(evaluatePolicy(rules, { service: 'orders' }, { service: 'db' }, 5433).allowed).toBe(false);
    expect(evaluatePolicy(rules, { service: 'orders' }, { service: 'db' }, 5432, 'UDP').allowed).toBe(false);
  });

  it('several policies add up: one allowance is enough', () => {
    const also: NetworkPolicySpec = {
      selector: { labels: { tier: 'data' } },
      ingress: [{ peers: [{ service: 'web' }], ports: [] }],
    };
    expect(
      evaluatePolicy(snapshot(allowOrders, also), { service: 'web' }, { service: 'db' }, 1).allowed,
    ).toBe(true);
  });

  it('restricts egress of the source, by service, label and range', () => {
    const egress: NetworkPolicySpec = {
      selector: { service: 'web' },
      egress: [{ peers: [{ labels: { tier: 'back' } }], ports: [] }],
    };
    expect(evaluatePolicy(snapshot(egress), { service: 'web' }, { service: 'orders' }, 80).allowed).toBe(
      true,
    );
    const denied = evaluatePolicy(snapshot(egress), { service: 'web' }, { service: 'db' }, 80);
    expect(denied.allowed).toBe(false);
    expect(denied.because).toContain('no egress rule');
    expect(evaluatePolicy(snapshot(egress), { service: 'orders' }, { service: 'db' }, 80).allowed).toBe(true);
  });

  it('an empty list denies all, an absent direction restricts nothing, an empty selector selects every service', () => {
    const closed: NetworkPolicySpec = { selector: {}, ingress: [] };
    expect(evaluatePolicy(snapshot(closed), { service: 'web' }, { service: 'db' }, 80).allowed).toBe(false);
    expect(
      evaluatePolicy(snapshot({ selector: {} }), { service: 'web' }, { service: 'db' }, 80).allowed,
    ).toBe(true);
  });

  it('peers with service and range need both; a range that cannot be parsed matches nobody', () => {
    const both: NetworkPolicySpec = {
      selector: { service: 'db' },
      ingress: [{ peers: [{ service: 'web', cidr: '10.1.0.0/16' }], ports: [] }],
    };
    const from = (source: object): boolean =>
      evaluatePolicy(snapshot(both), source, { service: 'db' }, 1).allowed;
    expect(from({ service: 'web', address: '10.1.2.3' })).toBe(true);
    expect(from({ service: 'web', address: '10.2.2.3' })).toBe(false);
    expect(from({ address: '10.1.2.3' })).toBe(false);
    const broken: NetworkPolicySpec = {
      selector: { service: 'db' },
      ingress: [{ peers: [{ cidr: '10.1.0.0/99' }], ports: [] }],
    };
    expect(evaluatePolicy(snapshot(broken), { address: '10.1.0.1' }, { service: 'db' }, 1).allowed).toBe(
      false,
    );
  });

  it('adding a rule never denies what was allowed; adding a policy without rules never allows what was denied', () => {
    const names = fc.constantFrom('web', 'orders', 'db');
    const rule = fc.record({
      peers: fc.array(fc.record({ service: names }), { maxLength: 2 }),
      ports: fc.array(fc.record({ port: fc.constantFrom(80, 443), protocol: fc.constant('TCP' as const) }), {
        maxLength: 2,
      }),
    });
    const policy = fc.record({
      selector: fc.record({ service: names }),
      ingress: fc.array(rule, { maxLength: 2 }),
    });
    fc.assert(
      fc.property(
        fc.array(policy, { maxLength: 4 }),
        rule,
        names,
        names,
        fc.constantFrom(80, 443),
        (specs, extra, from, to, port) => {
          const decide = (list: NetworkPolicySpec[]): boolean =>
            evaluatePolicy(snapshot(...list), { service: from }, { service: to }, port).allowed;
          const before = decide(specs);
          const widened = specs.map((spec) => ({ ...spec, ingress: [...spec.ingress, extra] }));
          if (before) expect(decide(widened)).toBe(true);
          if (!before) expect(decide([...specs, { selector: { service: to }, ingress: [] }])).toBe(false);
        },
      ),
    );
  });
});

describe('parseCidr', () => {
  it('tests IPv4 and IPv6 ranges, single addresses and mapped addresses', () => {
    expect(parseCidr('10.87.0.0/16')?.('10.87.255.1')).toBe(true);
    expect(parseCidr('10.87.0.0/16')?.('::ffff:10.87.0.9')).toBe(true);
    expect(parseCidr('10.87.0.0/16')?.('10.88.0.1')).toBe(false);
    expect(parseCidr('0.0.0.0/0')?.('8.8.8.8')).toBe(true);
    expect(parseCidr('0.0.0.0/0')?.('fd00::1')).toBe(false);
    expect(parseCidr('fd00::/8')?.('fd12::1')).toBe(true);
    expect(parseCidr('127.0.0.1')?.('127.0.0.1')).toBe(true);
    for (const bad of ['', 'x', '10.0.0.0/33', '10.0.0/8', '10.0.0.0/-1', 'fd00::/129'])
      expect(parseCidr(bad)).toBeUndefined();
    expect(normalAddress('fe80::1%eth0')).toBe('fe80::1');
  });
});

const at = (value: number): Random => ({
  next: () => value,
  integer: () => 0,
  bytes: () => new Uint8Array(),
  uuid: () => '',
});
const rule = (spec: Partial<TrafficRuleSpec>): TrafficRuleSpec => ({
  target: { service: 'web' },
  weight: 100,
  conditions: [],
  ...spec,
});
const request: RoutedRequest = {
  service: 'web',
  method: 'GET',
  path: '/items/1',
  header: (name) => (name === 'x-user' ? 'ada' : undefined),
};

describe('route', () => {
  it('splits by weight with one draw', () => {
    const rules = [
      { name: 'a', spec: rule({ target: { service: 'web', version: '1' }, weight: 30 }) },
      { name: 'b', spec: rule({ target: { service: 'web', version: '2' }, weight: 50 }) },
    ];
    expect(route(request, rules, at(0.29)).version).toBe('1');
    expect(route(request, rules, at(0.3)).version).toBe('2');
    expect(route(request, rules, at(0.79)).version).toBe('2');
    expect(route(request, rules, at(0.8))).toEqual({ version: undefined, rule: undefined });
  });

  it.each([
    ['method', 'Equals', 'GET', true],
    ['method', 'NotEquals', 'GET', false],
    ['path', 'Contains', '/items', true],
    ['path', 'NotContains', '/items', false],
    ['header', 'Equals', 'ada', true],
    ['header', 'NotEquals', 'bob', true],
    ['header', 'Contains', 'd', true],
    ['header', 'NotContains', 'z', true],
  ] as const)('%s %s %s', (on, operator, value, holds) => {
    const spec = rule({
      target: { service: 'web', version: '2' },
      conditions: [{ on, operator, value, ...(on === 'header' ? { header: 'X-User' } : {}) }],
    });
    expect(route(request, [{ name: 'r', spec }], at(0)).version).toBe(holds ? '2' : undefined);
  });

  it('a missing header fails Equals and Contains and meets NotEquals and NotContains', () => {
    const holds = (operator: 'Equals' | 'NotEquals' | 'Contains' | 'NotContains'): boolean => {
      const spec = rule({
        target: { service: 'web', version: '2' },
        conditions: [{ on: 'header', header: 'x-none', operator, value: 'v' }],
      });
      return route(request, [{ name: 'r', spec }], at(0)).version === '2';
    };
    expect([holds('Equals'), holds('Contains'), holds('NotEquals'), holds('NotContains')]).toEqual([
      false,
      false,
      true,
      true,
    ]);
  });

  it('more conditions come first, source must match, other services are not touched', () => {
    const canary = rule({
      target: { service: 'web', version: 'canary' },
      conditions: [{ on: 'header', header: 'x-user', operator: 'Equals', value: 'ada' }],
    });
    const rules = [
      { name: 'a-all', spec: rule({ target: { service: 'web', version: '1' } }) },
      { name: 'z-canary', spec: canary },
    ];
    expect(route(request, rules, at(0.99)).version).toBe('canary');
    const fromShop = [
      { name: 'r', spec: rule({ source: { service: 'shop' }, target: { service: 'web', version: '3' } }) },
    ];
    expect(route(request, fromShop, at(0)).version).toBeUndefined();
    expect(route({ ...request, source: 'shop' }, fromShop, at(0)).version).toBe('3');
    expect(route({ ...request, service: 'other' }, rules, at(0)).version).toBeUndefined();
  });

  it('shares come out as the weights say', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 100 }), (first, second) => {
        const rules = [
          { name: 'a', spec: rule({ target: { service: 'web', version: '1' }, weight: first }) },
          { name: 'b', spec: rule({ target: { service: 'web', version: '2' }, weight: second }) },
        ];
        const counts = new Map<string | undefined, number>();
        for (let n = 0; n < 100; n += 1) {
          const { version } = route(request, rules, at((n + 0.5) / 100));
          counts.set(version, (counts.get(version) ?? 0) + 1);
        }
        expect(counts.get('1') ?? 0).toBe(first);
        expect(counts.get('2') ?? 0).toBe(Math.min(second, 100 - first));
      }),
    );
  });
});
