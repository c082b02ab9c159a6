// Which rule of a trust policy decides, and which policies are refused.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fullRepository } from './claims.ts';
import { decideTrust, parseTrustPolicy, type TrustPolicy } from './policy.ts';

const policy = parseTrustPolicy({
  version: 1,
  default: { action: 'deny', reason: 'unknown registry' },
  rules: [
    { prefix: 'registry.example', action: 'accept' },
    { prefix: 'registry.example/team', action: 'require-signature', keys: ['k'] },
    { prefix: 'registry.example/team/open/', action: 'accept' },
    { prefix: 'localhost:5000', action: 'accept' },
    { prefix: 'docker.io/library', action: 'accept' },
    { prefix: 'shop-web', action: 'require-signature', keys: ['k'] },
  ],
});

const cases: readonly [reference: string, prefix: string | undefined][] = [
  ['registry.example/other/app:1', 'registry.example'],
  ['registry.example/team', 'registry.example/team'],
  ['registry.example/team/app:1', 'registry.example/team'],
  [`registry.example/team/app@sha256:${'a'.repeat(64)}`, 'registry.example/team'],
  [`registry.example/team/app:1@sha256:${'a'.repeat(64)}`, 'registry.example/team'],
  ['registry.example/team2/app', 'registry.example'],
  ['registry.example/team/open/app', 'registry.example/team/open/'],
  ['registry.example.evil/team/app', undefined],
  ['REGISTRY.example/team/app', 'registry.example/team'],
  ['localhost:5000/app', 'localhost:5000'],
  ['localhost:50000/app', undefined],
  ['localhost/app', undefined],
  ['alpine', 'docker.io/library'],
  ['library/alpine:3', 'docker.io/library'],
  ['docker.io/alpine', 'docker.io/library'],
  ['index.docker.io/library/alpine', 'docker.io/library'],
  ['shop-web:latest', 'shop-web'],
  ['docker.io/library/shop-web', 'docker.io/library'],
  ['someone/alpine', undefined],
];

describe('the rule that decides', () => {
  for (const [reference, prefix] of cases) {
    it(`about ${reference} is ${prefix ?? 'the default'}`, () => {
      expect(decideTrust(policy, reference).prefix).toBe(prefix);
    });
  }

  it('is the one of the longest prefix, in whatever order they stand', () => {
    const part = fc.constantFrom('a', 'b', 'team', 'app');
    const path = fc
      .array(part, { minLength: 0, maxLength: 4 })
      .map((parts) => ['r.example', ...parts].join('/'));
    fc.assert(
      fc.property(
        fc.uniqueArray(path, { minLength: 1, maxLength: 8 }),
        path,
        fc.nat(),
        (prefixes, repository, seed) => {
          const shuffled = prefixes.toSorted(
            (one, other) => ((one.length * seed) % 7) - ((other.length * seed) % 7),
          );
          const made: TrustPolicy = parseTrustPolicy({
            version: 1,
            rules: shuffled.map((prefix) => ({ prefix, action: 'deny' })),
          });
          const above = prefixes.filter(
            (prefix) => repository === prefix || repository.startsWith(`${prefix}/`),
          );
          const longest = above.sort((one, other) => other.length - one.length)[0];
          expect(decideTrust(made, `${repository}:1`).prefix).toBe(longest);
        },
      ),
    );
  });

  it('accepts by default', () => {
    expect(decideTrust({ version: 1 }, 'a').requirement).toEqual({ action: 'accept' });
    expect(decideTrust(policy, 'x.example/y').requirement).toEqual({
      action: 'deny',
      reason: 'unknown registry',
    });
  });
});

describe('a policy that is not what it seems', () => {
  const refused: readonly [why: string, json: unknown][] = [
    ['no version', { rules: [] }],
    ['a misspelt key', { version: 1, defaults: { action: 'deny' } }],
    ['an unknown action', { version: 1, default: { action: 'allow' } }],
    ['a signature without keys', { version: 1, default: { action: 'require-signature', keys: [] } }],
    ['keys where none are used', { version: 1, default: { action: 'accept', keys: ['k'] } }],
    [
      'more keys than there are',
      { version: 1, default: { action: 'require-signature', keys: ['k'], minimumKeys: 2 } },
    ],
    ['an empty prefix', { version: 1, rules: [{ prefix: '', action: 'deny' }] }],
    ['a pattern', { version: 1, rules: [{ prefix: '*.example', action: 'deny' }] }],
    [
      'two rules for one prefix',
      {
        version: 1,
        rules: [
          { prefix: 'a/', action: 'deny' },
          { prefix: 'a', action: 'accept' },
        ],
      },
    ],
    ['a list', []],
  ];
  for (const [why, json] of refused) {
    it(`is refused: ${why}`, () => {
      expect(() => parseTrustPolicy(json)).toThrow(expect.objectContaining({ code: 'TRUST_POLICY_INVALID' }));
    });
  }
});

describe('the full name of a repository', () => {
  const names: readonly [short: string, full: string][] = [
    ['alpine', 'docker.io/library/alpine'],
    ['team/app:1', 'docker.io/team/app'],
    ['index.docker.io/library/alpine', 'docker.io/library/alpine'],
    ['registry-1.docker.io/team/app', 'docker.io/team/app'],
    ['Registry.Example:5000/Team/app:1', 'registry.example:5000/Team/app'],
    [`localhost/app@sha256:${'0'.repeat(64)}`, 'localhost/app'],
  ];
  for (const [short, full] of names)
    it(`of ${short} is ${full}`, () => expect(fullRepository(short)).toBe(full));
});
