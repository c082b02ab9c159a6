// Character classes and escapes of regular expressions.

import type { MonitoringError } from '../errors.ts';

type Test = (code: number) => boolean;
type Fail = (why: string) => MonitoringError;

/** Inclusive ranges of code points. */
type Ranges = readonly (readonly [number, number])[];

const DIGIT: Ranges = [[0x30, 0x39]];
const LOWER: Ranges = [[0x61, 0x7a]];
const UPPER: Ranges = [[0x41, 0x5a]];
const WORD: Ranges = [...DIGIT, ...UPPER, [0x5f, 0x5f], ...LOWER];
const SPACE: Ranges = [
  [0x09, 0x0a],
  [0x0c, 0x0d],
  [0x20, 0x20],
];
const PUNCTUATION: Ranges = [
  [0x21, 0x2f],
  [0x3a, 0x40],
  [0x5b, 0x60],
  [0x7b, 0x7e],
];

const NAMED: Readonly<Record<string, Ranges>> = {
  alnum: [...DIGIT, ...UPPER, ...LOWER],
  alpha: [...UPPER, ...LOWER],
  digit: DIGIT,
  lower: LOWER,
  upper: UPPER,
  punct: PUNCTUATION,
  space: [...SPACE, [0x0b, 0x0b]],
  word: WORD,
  xdigit: [...DIGIT, [0x41, 0x46], [0x61, 0x66]],
};

const CONTROL: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, a: 0x07 };

function inside(ranges: Ranges): Test {
  return (code) => ranges.some(([from, to]) => code >= from && code <= to);
}

function not(test: Test): Test {
  return (code) => !test(code);
}

/** The class that a letter after a backslash stands for (`\d`, `\W`), if it is one. */
export function escapeTest(letter: string): Test | undefined {
  switch (letter) {
    case 'd':
      return inside(DIGIT);
    case 'D':
      return not(inside(DIGIT));
    case 'w':
      return inside(WORD);
    case 'W':
      return not(inside(WORD));
    case 's':
      return inside(SPACE);
    case 'S':
      return not(inside(SPACE));
    default:
      return undefined;
  }
}

/** The code point that the text after a backslash names, and how many characters of it that takes. */
export function literalEscape(rest: string, fail: Fail): { code: number; length: number } {
  const hex = /^x(?:([0-9a-fA-F]{2})|\{([0-9a-fA-F]{1,6})\})/.exec(rest);
  if (hex !== null) {
    const code = Number.parseInt(hex[1] ?? hex[2] ?? '', 16);
    if (code > 0x10ffff) throw fail('\\x{…} is beyond the last code point');
    return { code, length: hex[0].length };
  }
  const letter = rest[0] ?? '';
  const control = CONTROL[letter];
  if (control !== undefined) return { code: control, length: 1 };
  if (/[A-Za-z0-9]/.test(letter)) throw fail(`\\${letter} is not an escape that is known`);
  const code = rest.codePointAt(0) ?? 0;
  return { code, length: code > 0xffff ? 2 : 1 };
}

/** Reads a class from after its `[` to its `]`. */
export function classTest(rest: string, ignoreCase: boolean, fail: Fail): { test: Test; length: number } {
  let index = rest[0] === '^' ? 1 : 0;
  const negated = index === 1;
  const tests: Test[] = [];
  for (let first = true; first || rest[index] !== ']'; first = false) {
    if (index >= rest.length) throw fail('missing ]');
    index += classItem(rest.slice(index), tests, fail);
  }
  const any: Test = (code) => tests.some((test) => test(code));
  const folded = ignoreCase ? (code: number) => caseVariants(code).some(any) : any;
  return { test: negated ? not(folded) : folded, length: index + 1 };
}

function classItem(rest: string, tests: Test[], fail: Fail): number {
  const named = /^\[:(\^?)(\w+):\]/.exec(rest);
  if (named !== null) {
    const ranges = NAMED[named[2] ?? ''];
    if (ranges === undefined) throw fail(`[:${named[2]}:] is not a class`);
    tests.push(named[1] === '^' ? not(inside(ranges)) : inside(ranges));
    return named[0].length;
  }
  if (rest[0] === '\\') {
    const escaped = escapeTest(rest[1] ?? '');
    if (escaped !== undefined) {
      tests.push(escaped);
      return 2;
    }
  }
  const from = classCharacter(rest, fail);
  const after = rest.slice(from.length);
  if (after[0] !== '-' || after[1] === ']' || after[1] === undefined) {
    tests.push((code) => code === from.code);
    return from.length;
  }
  const to = classCharacter(after.slice(1), fail);
  if (to.code < from.code) throw fail('a range in […] is in the wrong order');
  tests.push((code) => code >= from.code && code <= to.code);
  return from.length + 1 + to.length;
}

function classCharacter(rest: string, fail: Fail): { code: number; length: number } {
  if (rest[0] === '\\') {
    const escaped = literalEscape(rest.slice(1), fail);
    return { code: escaped.code, length: escaped.length + 1 };
  }
  const code = rest.codePointAt(0) ?? 0;
  return { code, length: code > 0xffff ? 2 : 1 };
}

function caseVariants(code: number): number[] {
  const text = String.fromCodePoint(code);
  return [code, text.toLowerCase().codePointAt(0) ?? code, text.toUpperCase().codePointAt(0) ?? code];
}
