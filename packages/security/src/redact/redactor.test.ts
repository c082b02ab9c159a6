import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isSecretName, Redactor } from './redactor.ts';

describe('Redactor', () => {
  it('hides known secrets in plain, base64 and percent-encoded form', () => {
    const redactor = new Redactor();
    redactor.addSecret('p@ss w0rd');
    redactor.addSecret('p@ss w0rd-longer');
    const text = `a p@ss w0rd b ${Buffer.from('p@ss w0rd').toString('base64')} c p%40ss%20w0rd d p@ss w0rd-longer`;
    expect(redactor.text(text)).toBe('a *** b *** c *** d ***');
  });

  it.each([
    ['Authorization: Bearer abc.def-ghi', 'Authorization: Bearer ***'],
    ['postgres://ada:s3cret@db/x', 'postgres://ada:***@db/x'],
    ['token hpt_0123456789abcdef_AbCdEfGhIj used', 'token hpt_*** used'],
    ['DB_PASSWORD=open sesame', 'DB_PASSWORD=*** sesame'],
    ['{"api_key": "x1", "n": 1}', '{"api_key": ***, "n": 1}'],
    ['jwt eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2ln', 'jwt ***'],
    ['-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----!', '***!'],
    ['GET /x?token=abc&page=2', 'GET /x?token=***&page=2'],
    ['nothing to hide: 12 tokens left', 'nothing to hide: 12 tokens left'],
  ])('%s', (given, expected) => {
    expect(new Redactor().text(given)).toBe(expected);
  });

  it('hides values under telling names at any depth, in errors, maps and cycles', () => {
    const redactor = new Redactor();
    const cycle: Record<string, unknown> = {
      user: 'ada',
      env: { DB_PASSWORD: 'x', PORT: '1' },
      list: [{ apiKey: 'y' }],
    };
    cycle.self = cycle;
    cycle.map = new Map([['client_secret', 'z']]);
    cycle.failure = Object.assign(new Error('login with password=hush failed'), { cookie: 'c' });
    const shown = JSON.stringify(redactor.value(cycle));
    expect(shown).not.toMatch(/"x"|"y"|"z"|hush|"c"/);
    expect(shown).toContain('"user":"ada"');
    expect(shown).toContain('"PORT":"1"');
    expect(shown).toContain('[circular]');
  });

  it('hides the environment variables that are named secret', () => {
    expect(new Redactor().environment({ A: '1', B: '2', GITHUB_TOKEN: '3' }, ['B'])).toEqual({
      A: '1',
      B: '***',
      GITHUB_TOKEN: '***',
    });
  });

  it('leaves no known secret in anything', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 6, unit: 'grapheme-ascii' }), fc.jsonValue(), (secret, rest) => {
        fc.pre(!'***[circular] deep'.includes(secret));
        const redactor = new Redactor();
        redactor.addSecret(secret);
        const found: string[] = [];
        JSON.stringify(redactor.value({ a: `x${secret}y`, b: [secret, rest], [secret]: 1 }), (key, value) => {
          found.push(key, typeof value === 'string' ? value : '');
          return value;
        });
        expect(found.some((text) => text.includes(secret))).toBe(false);
      }),
    );
  });

  it('knows telling names', () => {
    for (const name of [
      'password',
      'DB_PASSWORD',
      'apiKey',
      'x-api-key',
      'authorization',
      'refreshToken',
      'tokens',
    ]) {
      expect(isSecretName(name)).toBe(true);
    }
    for (const name of ['user', 'keyName', 'tokenExpiresAt', 'author', 'passive'])
      expect(isSecretName(name)).toBe(false);
  });
});
