import fc from 'fast-check';
import { expect, it } from 'vitest';
import { differencesOf } from './services.ts';

it('names what differs by its path', () => {
  const before = { image: 'a:1', replicas: 2, update: { maxSurge: 1 }, labels: { x: '1' } };
  const after = { image: 'a:2', replicas: 2, update: { maxSurge: 2 }, labels: {}, user: 'web' };
  expect(differencesOf(before, after)).toEqual([
    'image: "a:1" -> "a:2"',
    'labels.x: "1" -> (none)',
    'update.maxSurge: 1 -> 2',
    'user: (none) -> "web"',
  ]);
});

it('says that secrets differ, not how', () => {
  const before = { environment: { PIN: 'old-secret' }, files: [{ target: '/a', content: 'old-file' }] };
  const after = { environment: { PIN: 'new-secret', ADDED: 'x-secret' }, files: [] };
  const text = differencesOf(before, after).join('\n');
  expect(text).toBe('environment.ADDED: (none) -> ***\nenvironment.PIN: *** -> ***\nfiles: *** -> ***');
});

it('finds none between equal values, whatever the order of their keys', () => {
  expect(differencesOf({ a: [{ x: 1, y: 2 }], b: 1 }, { b: 1, a: [{ y: 2, x: 1 }] })).toEqual([]);
  fc.assert(
    fc.property(fc.jsonValue(), (value) => differencesOf(value, structuredClone(value)).length === 0),
  );
});

it('stops at 20', () => {
  const many = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`k${index}`, index]));
  expect(differencesOf({}, many)).toHaveLength(20);
});
