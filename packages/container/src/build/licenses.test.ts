// Licences: which texts are SPDX expressions, and the old ways to state one.

import { describe, expect, it } from 'vitest';
import { isSpdxExpression, licensesOf } from './licenses.ts';

describe('an SPDX expression', () => {
  const expressions = [
    'MIT',
    'GPL-2.0-only WITH Classpath-exception-2.0',
    '(MIT OR Apache-2.0)',
    'MIT AND (BSD-2-Clause OR LGPL-2.1+)',
    'LicenseRef-mine',
    'DocumentRef-x:LicenseRef-y',
  ];
  for (const text of expressions) it(`is ${text}`, () => expect(isSpdxExpression(text)).toBe(true));
  const others = [
    '',
    'MIT License',
    'MIT OR',
    'OR MIT',
    '(MIT',
    'MIT)',
    '()',
    'UNLICENSED',
    'SEE LICENSE IN x',
    'MIT,X11',
    'https://x',
  ];
  for (const text of others)
    it(`is not ${text || '(nothing)'}`, () => expect(isSpdxExpression(text)).toBe(false));
});

it('licences are taken from wherever packages state them', () => {
  expect(licensesOf({ license: 'MIT' })).toEqual([{ expression: 'MIT' }]);
  expect(licensesOf({ license: { type: 'ISC', url: 'x' } })).toEqual([{ expression: 'ISC' }]);
  expect(licensesOf({ licenses: [{ type: 'MIT' }, 'X11'] })).toEqual([
    { license: { name: 'MIT' } },
    { license: { name: 'X11' } },
  ]);
  expect(licensesOf({ license: 'Do what you like' })).toEqual([{ license: { name: 'Do what you like' } }]);
  for (const license of [undefined, null, 7, '', {}, []]) expect(licensesOf({ license })).toEqual([]);
});
