import type { Principal } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AccessControl } from './access-control.ts';
import { ACCESS_MATRIX } from './matrix.ts';

const access = new AccessControl();
const person = (...roles: string[]): Principal => ({ id: 'ada', type: 'user', roles });

describe('the access matrix', () => {
  // role, action, resource, allowed, audit level
  const CASES: [string, string, string, boolean, string][] = [
    ['admin', 'read', 'config', true, 'HIGH'],
    ['admin', 'write', 'config', true, 'HIGH'],
    ['operator', 'read', 'config', false, 'HIGH'],
    ['operator', 'read', 'logs', true, 'MEDIUM'],
    ['viewer', 'read', 'logs', false, 'MEDIUM'],
    ['viewer', 'read', 'monitoring', true, 'LOW'],
    ['viewer', 'write', 'monitoring', false, 'MEDIUM'],
    ['admin', 'read', 'logs/web', true, 'MEDIUM'],
    ['operator', 'write', 'services/web', true, 'HIGH'],
    ['viewer', 'write', 'services/web', false, 'HIGH'],
    ['viewer', 'read', 'services-internal', false, 'MEDIUM'],
    ['operator', 'execute', 'containers/c1', true, 'HIGH'],
    ['viewer', 'execute', 'containers/c1', false, 'HIGH'],
    ['viewer', 'read', 'storage/orders/1', false, 'MEDIUM'],
    ['operator', 'write', 'security/users', false, 'HIGH'],
    ['operator', 'read', 'audit', false, 'HIGH'],
    ['operator', 'execute', 'dr', false, 'HIGH'],
    ['admin', 'execute', 'dr', true, 'HIGH'],
    ['node', 'write', 'state/resources', true, 'NONE'],
    ['node', 'write', 'services/web', false, 'HIGH'],
    ['node', 'read', 'security/users', false, 'HIGH'],
    ['service', 'write', 'storage/orders/1', true, 'NONE'],
    ['service', 'read', 'state/security', false, 'HIGH'],
    ['service', 'read', 'services', false, 'HIGH'],
    ['nobody', 'read', 'services', false, 'HIGH'],
    ['admin', 'read', 'no-such-thing', false, 'MEDIUM'],
    ['admin', 'no-such-action', 'services', false, 'HIGH'],
    ['constructor', 'read', 'services', false, 'HIGH'],
  ];
  it.each(CASES)('%s %s %s -> %s (%s)', (role, action, resource, allowed, auditLevel) => {
    expect(access.decide(person(role), action, resource)).toMatchObject({ allowed, auditLevel });
  });

  it('names the rules that allowed, and none when nothing matched', () => {
    expect(access.decide(person('admin'), 'read', 'services').because).toEqual(['services/viewer/read']);
    expect(access.decide(person(), 'read', 'services')).toEqual({
      allowed: false,
      because: [],
      auditLevel: 'HIGH',
    });
  });

  it('lets everybody change their own password and nobody another one', () => {
    expect(access.decide(person('viewer'), 'write', 'security/self', { owner: 'ada' }).allowed).toBe(true);
    expect(access.decide(person('viewer'), 'write', 'security/self', { owner: 'bob' }).allowed).toBe(false);
    expect(access.decide(person('viewer'), 'write', 'security/self').allowed).toBe(false);
  });

  it('narrows by scopes and never widens', () => {
    const scoped = (scopes: string, ...roles: string[]): Principal => ({
      ...person(...roles),
      attributes: { scopes },
    });
    expect(access.decide(scoped('storage/a:read', 'operator'), 'read', 'storage/a/x').allowed).toBe(true);
    expect(access.decide(scoped('storage/a:read', 'operator'), 'write', 'storage/a/x').allowed).toBe(false);
    expect(access.decide(scoped('storage/a:read', 'operator'), 'read', 'storage/ab').allowed).toBe(false);
    expect(access.decide(scoped('security:write', 'viewer'), 'write', 'security/users').allowed).toBe(false);
    expect(access.decide(scoped('', 'admin'), 'read', 'services').allowed).toBe(false);
  });

  it('a deny rule wins over every allow', () => {
    const strict = new AccessControl({
      rules: [
        ...ACCESS_MATRIX,
        {
          id: 'freeze',
          resource: 'services',
          role: '*',
          actions: ['write'],
          auditLevel: 'HIGH',
          effect: 'deny',
        },
      ],
    });
    expect(strict.decide(person('admin'), 'write', 'services/web')).toMatchObject({
      allowed: false,
      because: ['freeze'],
    });
    expect(strict.decide(person('admin'), 'read', 'services/web').allowed).toBe(true);
  });

  it('is total, and an included role never loses anything', () => {
    const text = fc.oneof(fc.constantFrom(...ACCESS_MATRIX.map((rule) => rule.resource)), fc.string());
    const action = fc.oneof(fc.constantFrom('read', 'write', 'execute'), fc.string());
    fc.assert(
      fc.property(text, action, (resource, act) => {
        const [viewer, operator, admin] = ['viewer', 'operator', 'admin'].map(
          (role) => access.decide(person(role), act, resource).allowed,
        );
        expect(!viewer || operator).toBe(true);
        expect(!operator || admin).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});
