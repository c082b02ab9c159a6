import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseReference, taggedName } from './reference.ts';

const digest = `sha256:${'a'.repeat(64)}`;

describe('parseReference', () => {
  it('takes references apart', () => {
    expect(parseReference('shop')).toEqual({ repository: 'shop', tag: 'latest' });
    expect(parseReference('team/shop:1.2')).toEqual({ repository: 'team/shop', tag: '1.2' });
    expect(parseReference('localhost:5000/shop')).toEqual({
      repository: 'localhost:5000/shop',
      tag: 'latest',
    });
    expect(parseReference('Registry.Example:443/a/b_c:V1')).toEqual({
      repository: 'Registry.Example:443/a/b_c',
      tag: 'V1',
    });
    expect(parseReference(`shop@${digest}`)).toEqual({ repository: 'shop', digest });
    expect(parseReference(`shop:1@${digest}`)).toEqual({ repository: 'shop', tag: '1', digest });
  });

  it('refuses what is none, with a hint', () => {
    for (const bad of [
      '',
      ':1',
      'Shop',
      'a//b',
      'a/',
      '/a',
      'a:',
      'a b',
      '../x',
      'a@sha256:12',
      'a'.repeat(256),
      'a:b:c',
      'host.x:port/a',
    ]) {
      expect(() => parseReference(bad), bad).toThrow(expect.objectContaining({ code: 'INVALID_REFERENCE' }));
    }
  });

  it('reads back what it names', () => {
    const part = fc.stringMatching(/^[a-z0-9]+(\.[a-z0-9]+)?$/).filter((text) => text.length < 30);
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 1, maxLength: 3 }),
        fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/),
        (parts, tag) => {
          const name = `${parts.join('/')}:${tag}`;
          expect(taggedName(parseReference(name))).toBe(name);
        },
      ),
    );
  });
});
