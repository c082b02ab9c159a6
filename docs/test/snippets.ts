// Finds the TypeScript that the documentation shows: fenced blocks of READMEs, @example blocks of TSDoc.

import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

/** A piece of code as a reader would copy it. */
export interface Snippet {
  /** File it stands in, relative to the repository. */
  readonly source: string;
  /** Line of its first line, counted from 1. */
  readonly line: number;
  readonly code: string;
}

/** The repository's directory, ending in a slash. */
export const root: string = new URL('../../', import.meta.url).pathname;

/** Blocks fenced as `ts` in a Markdown file. */
export function markdownSnippets(file: string): Snippet[] {
  return fenced(readFileSync(file, 'utf8'), relative(root, file));
}

/** Blocks fenced as `ts` below an `@example` in the TSDoc of a source file. */
export function exampleSnippets(file: string): Snippet[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  const out: Snippet[] = [];
  let inside = false;
  const text = lines.map((line) => {
    if (/^\s*\/\*\*/.test(line)) inside = false;
    if (/^\s*\*\s*@example\b/.test(line)) inside = true;
    else if (/^\s*\*\s*@\w/.test(line) || /\*\/\s*$/.test(line)) inside = false;
    return inside ? line.replace(/^\s*\* ?/, '') : '';
  });
  out.push(...fenced(text.join('\n'), relative(root, file)));
  return out;
}

function fenced(text: string, source: string): Snippet[] {
  const out: Snippet[] = [];
  const lines = text.split('\n');
  for (let index = 0; index < lines.length; index++) {
    if (!/^```(ts|typescript)\s*$/.test(lines[index] ?? '')) continue;
    const end = lines.indexOf('```', index);
    if (end < 0) throw new Error(`${source}:${index + 1}: the code block is not closed`);
    out.push({ source, line: index + 2, code: lines.slice(index + 1, end).join('\n') });
    index = end;
  }
  return out;
}
