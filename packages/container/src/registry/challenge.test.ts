import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseChallenges } from './challenge.ts';

describe('WWW-Authenticate', () => {
  it('reads what registries send', () => {
    expect(
      parseChallenges(
        'Bearer realm="https://auth.example/token",service="registry, one",scope="repository:a/b:pull,push"',
      ),
    ).toEqual([
      {
        scheme: 'bearer',
        parameters: {
          realm: 'https://auth.example/token',
          service: 'registry, one',
          scope: 'repository:a/b:pull,push',
        },
      },
    ]);
    expect(parseChallenges('Basic realm="a \\"quoted\\" one"')).toEqual([
      { scheme: 'basic', parameters: { realm: 'a "quoted" one' } },
    ]);
  });

  it('reads several challenges in one header', () => {
    expect(
      parseChallenges('Basic realm="x", Bearer realm=https://t/ , error=invalid_token').map(
        ({ scheme, parameters }) => [scheme, { ...parameters }],
      ),
    ).toEqual([
      ['basic', { realm: 'x' }],
      ['bearer', { realm: 'https://t/', error: 'invalid_token' }],
    ]);
  });

  it('ends for any text', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (text) => {
        expect(Array.isArray(parseChallenges(text))).toBe(true);
      }),
    );
  });

  it('gives back what was written', () => {
    const word = fc.stringMatching(/^[a-z]{1,8}$/);
    fc.assert(
      fc.property(
        fc.dictionary(word, fc.string({ maxLength: 20 }), { minKeys: 1, maxKeys: 4 }),
        (parameters) => {
          const quoted = Object.entries(parameters).map(
            ([key, value]) => `${key}="${value.replace(/["\\]/g, '\\$&')}"`,
          );
          const [challenge] = parseChallenges(`Bearer ${quoted.join(', ')}`);
          // A line break cannot be in a header.
          if (!/[\r\n\u2028\u2029]/.test(Object.values(parameters).join('')))
            expect({ ...challenge?.parameters }).toEqual({ ...parameters });
        },
      ),
    );
  });
});
