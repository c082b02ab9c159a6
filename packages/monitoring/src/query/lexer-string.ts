// String literals of PromQL: Go's escapes in "…" and '…', none in `…`.

import { invalidQuery } from './query-error.ts';

const SIMPLE: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
};

/** Reads the literal that begins at `start`; `length` counts both quotes. */
export function readString(query: string, start: number): { text: string; length: number } {
  const quote = query[start] ?? '';
  if (quote === '`') {
    const end = query.indexOf('`', start + 1);
    if (end < 0) throw invalidQuery(query, start, 'the string that begins here is not closed');
    return { text: query.slice(start + 1, end), length: end - start + 1 };
  }
  const bytes: number[] = [];
  let text = '';
  // \x and octal escapes name bytes of UTF-8, so they are collected and decoded together.
  const flush = (): void => {
    text += new TextDecoder().decode(Uint8Array.from(bytes));
    bytes.length = 0;
  };
  let index = start + 1;
  for (;;) {
    const character = query[index];
    if (character === undefined || character === '\n')
      throw invalidQuery(query, start, 'the string that begins here is not closed');
    if (character === quote) break;
    if (character !== '\\') {
      flush();
      text += character;
      index++;
      continue;
    }
    const escaped = readEscape(query, index, quote);
    if (escaped.byte !== undefined) bytes.push(escaped.byte);
    else {
      flush();
      text += escaped.text;
    }
    index += escaped.length;
  }
  flush();
  return { text, length: index - start + 1 };
}

function readEscape(
  query: string,
  at: number,
  quote: string,
): { text: string; byte?: number; length: number } {
  const rest = query.slice(at + 1, at + 10);
  const letter = rest[0] ?? '';
  if (letter === quote) return { text: quote, length: 2 };
  const simple = SIMPLE[letter];
  if (simple !== undefined) return { text: simple, length: 2 };
  const hex = /^x([0-9a-fA-F]{2})/.exec(rest);
  if (hex !== null) return { text: '', byte: Number.parseInt(hex[1] ?? '', 16), length: 4 };
  const octal = /^([0-3][0-7]{2})/.exec(rest);
  if (octal !== null) return { text: '', byte: Number.parseInt(octal[1] ?? '', 8), length: 4 };
  const unicode = /^(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/.exec(rest);
  const code = Number.parseInt(unicode?.[1] ?? unicode?.[2] ?? '', 16);
  if (unicode !== null && code <= 0x10ffff)
    return { text: String.fromCodePoint(code), length: unicode[0].length + 1 };
  throw invalidQuery(query, at, `\\${letter} is not an escape that strings know`);
}
