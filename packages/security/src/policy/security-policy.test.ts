import { describe, expect, it } from 'vitest';
import { createPolicy, SECURITY_LEVELS } from './security-policy.ts';

describe('SecurityPolicy', () => {
  it.each([
    ['low', ['authentication', 'rateLimit']],
    ['medium', ['authentication', 'authorization', 'rateLimit']],
    ['high', ['authentication', 'authorization', 'audit', 'rateLimit']],
    ['critical', ['encryption', 'authentication', 'authorization', 'audit', 'rateLimit']],
  ] as const)('%s demands %s', (level, demanded) => {
    expect(createPolicy({ name: 'p', level }).missing({})).toEqual(demanded);
  });

  it('each level demands all that the one below does', () => {
    const policies = SECURITY_LEVELS.map((level) => createPolicy({ name: 'p', level }));
    policies.slice(1).forEach((policy, index) => {
      expect(policy.missing({})).toEqual(expect.arrayContaining(policies[index]?.missing({}) ?? []));
    });
  });

  it('can be stricter than its level, and refuses by naming what is missing', () => {
    const policy = createPolicy({ name: 'pay', level: 'low', also: ['encryption'] });
    expect(policy.toSpec()).toMatchObject({ level: 'low', encryptionRequired: true, auditRequired: false });
    expect(() => policy.enforce({ authentication: true })).toThrow(
      'refused by policy "pay" (level low): it demands encryption, rateLimit',
    );
    policy.enforce({ authentication: true, encryption: true, rateLimit: true });
  });
});
