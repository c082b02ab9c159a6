// Problems of a Compose file: collected, placed and shown all at once.

import { HeptadError } from '@heptad/core';

/** One thing that is wrong with a Compose file. */
export interface ComposeProblem {
  /** Where in the document: `services.web.ports[0]`; empty for the document itself. */
  readonly path: string;
  /** What is wrong, as a sentence. */
  readonly message: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** What to do about it. */
  readonly hint?: string;
  /** The lines around it, with a caret under the place. */
  readonly frame: string;
}

/** Problems shown in the error's message; all of them are in `details.problems`. */
const SHOWN = 20;
/** Lines of context before and after. */
const CONTEXT = 1;
/** Longer lines are cut around the place. */
const LINE_WIDTH = 120;

/** The lines around a place, with a caret under it. */
export function codeFrame(text: string, line: number, column: number): string {
  const lines = text.split(/\r?\n/);
  const first = Math.max(1, line - CONTEXT);
  const last = Math.min(lines.length, line + CONTEXT);
  const width = String(last).length;
  const shown: string[] = [];
  const offset = Math.max(0, column - LINE_WIDTH);
  for (let number = first; number <= last; number += 1) {
    const source = (lines[number - 1] ?? '').replaceAll('\t', ' ').slice(offset, offset + LINE_WIDTH);
    shown.push(`${number === line ? '>' : ' '} ${String(number).padStart(width)} | ${source}`);
    if (number === line) shown.push(`  ${' '.repeat(width)} | ${' '.repeat(column - 1 - offset)}^`);
  }
  return shown.join('\n');
}

/** The error of a Compose file that cannot be used. Code `COMPOSE_INVALID`; `problems` has everything found. */
export class ComposeError extends HeptadError<'COMPOSE_INVALID'> {
  readonly problems: readonly ComposeProblem[];

  constructor(fileName: string, problems: readonly ComposeProblem[]) {
    const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
    const shown = sorted.slice(0, SHOWN).map((problem) => {
      const where = problem.path === '' ? '' : `${problem.path}: `;
      const hint = problem.hint === undefined ? '' : `\n  ${problem.hint}`;
      return `${fileName}:${problem.line}:${problem.column} ${where}${problem.message}${hint}\n${problem.frame}`;
    });
    const rest = sorted.length - shown.length;
    const count = `${sorted.length} problem${sorted.length === 1 ? '' : 's'}`;
    const more = rest > 0 ? `\n\nand ${rest} more` : '';
    super('COMPOSE_INVALID', `cannot use ${fileName}: ${count}\n\n${shown.join('\n\n')}${more}`, {
      hint: 'correct the places named and try again',
      details: { fileName, problems: sorted },
    });
    this.problems = sorted;
  }
}

/** Edits (insert, delete, replace, swap of neighbours) between two words: optimal string alignment. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const current = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min((previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1, (previous[j - 1] ?? 0) + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (before[j - 2] ?? 0) + 1);
      }
      current.push(best);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/** The known word nearest to a mistyped one, if it is near enough to have been meant. */
export function didYouMean(word: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_ ]/g, '');
  const limit = Math.max(1, Math.floor(word.length / 3));
  let best: { word: string; distance: number } | undefined;
  for (const candidate of known) {
    const far = plain(candidate) === plain(word) ? 0 : distance(word.toLowerCase(), candidate.toLowerCase());
    if (far <= limit && (best === undefined || far < best.distance))
      best = { word: candidate, distance: far };
  }
  return best?.word;
}
