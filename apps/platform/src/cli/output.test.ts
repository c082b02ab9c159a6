import { HeptadError } from '@heptad/core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { age, EXIT, exitCodeOf, printJson, printTable, sayError } from './output.ts';

afterEach(() => vi.restoreAllMocks());

function written(stream: NodeJS.WriteStream): string[] {
  const parts: string[] = [];
  vi.spyOn(stream, 'write').mockImplementation((text) => {
    parts.push(String(text));
    return true;
  });
  return parts;
}

describe('exit codes', () => {
  it('are those that were promised', () => {
    expect(EXIT).toEqual({ ok: 0, error: 1, changesPending: 2, notFound: 3, refused: 4, timeout: 5 });
  });

  it.each([
    ['NOT_FOUND', 3],
    ['CONTAINER_NOT_FOUND', 3],
    ['KEY_NOT_FOUND', 3],
    ['REPORT_NOT_FOUND', 3],
    ['FORBIDDEN', 4],
    ['ACCESS_DENIED', 4],
    ['POLICY_VIOLATION', 4],
    ['UNAUTHENTICATED', 4],
    ['TOKEN_EXPIRED', 4],
    ['LAST_ADMIN', 4],
    ['TIMEOUT', 5],
    ['UNAVAILABLE', 1],
    ['INVALID_ARGUMENT', 1],
  ])('%s exits with %i', (code, exit) => {
    expect(exitCodeOf(new HeptadError(code, 'x'))).toBe(exit);
  });

  it('of anything else is 1', () => {
    for (const error of [new Error('x'), 'x', undefined]) expect(exitCodeOf(error)).toBe(1);
  });
});

it('says what went wrong and what to do on stderr, without a stack', () => {
  const err = written(process.stderr);
  const out = written(process.stdout);
  sayError(new HeptadError('NOT_FOUND', 'there is no service "web"', { hint: 'heptad services lists them' }));
  expect(err.join('')).toBe('heptad: there is no service "web"\n  hint: heptad services lists them\n');
  expect(out).toEqual([]);
});

it('prints data on stdout: JSON for programs, columns for people', () => {
  const out = written(process.stdout);
  printJson({ a: [1] });
  expect(JSON.parse(out.join(''))).toEqual({ a: [1] });
  out.length = 0;
  printTable(
    ['NAME', 'READY'],
    [
      ['a-long-name', '1/1'],
      ['b', ''],
    ],
  );
  expect(out.join('')).toBe('NAME         READY\na-long-name  1/1\nb\n');
});

it('tells ages in whole seconds', () => {
  expect(age(undefined, 5_000)).toBe('-');
  expect(age(1_000, 62_400)).toBe('1m1s');
  expect(age(9_000, 5_000)).toBe('0s');
});
