// Prometheus' promqltest notation: scripts of `load`, `clear` and `eval`, read into data.

import type { Labels } from '../../src/metrics/labels.ts';
import { STALE_NAN } from '../../src/metrics/stale.ts';
import { durationMs } from '../../src/query/lexer.ts';
import { parsePromql } from '../../src/query/parser.ts';
import { parseFloatText } from '../../src/query/value.ts';

export interface LoadedSeries {
  readonly labels: Labels;
  readonly times: number[];
  readonly values: number[];
}

export interface ExpectedSeries {
  readonly labels: Labels;
  readonly values: (number | undefined)[];
}

export interface Evaluation {
  readonly line: number;
  readonly query: string;
  readonly start: number;
  readonly end: number;
  /** 0 for an instant query. */
  readonly step: number;
  /** Time of an instant query. */
  readonly at: number;
  /** An instant query that answers a range vector, of which start, end and step then speak. */
  readonly matrix: boolean;
  readonly ordered: boolean;
  readonly fails: boolean;
  /** What the script says that we do not read (native histograms, strings). */
  readonly unreadable: string | undefined;
  readonly expected: ExpectedSeries[];
  readonly scalar: number | undefined;
}

export type Command =
  | { readonly kind: 'clear' }
  | { readonly kind: 'load'; readonly series: LoadedSeries[]; readonly unreadable: string | undefined }
  | { readonly kind: 'eval'; readonly evaluation: Evaluation };

function time(text: string): number {
  return /^-?[\d.]+$/.test(text)
    ? Number(text) * 1000
    : durationMs(text.replace(/^-/, '')) * (text.startsWith('-') ? -1 : 1);
}

/** Reads `name{a="b"}` at the begin of a line; the rest is the values. */
function readMetric(line: string): { labels: Labels; rest: string } {
  const plain = /^[a-zA-Z_:][\w:]*/.exec(line)?.[0] ?? '';
  let index = plain.length;
  if (line[index] === '{') {
    let quote = '';
    for (index++; index < line.length; index++) {
      const character = line[index] ?? '';
      if (quote !== '') {
        if (character === '\\' && quote !== '`') index++;
        else if (character === quote) quote = '';
      } else if (/["'`]/.test(character)) quote = character;
      else if (character === '}') break;
    }
    index++;
  }
  const text = line.slice(0, index);
  const labels: Record<string, string> = {};
  if (text !== '' && text !== '{}') {
    const tree = parsePromql(`${text}`);
    if (tree.kind === 'vector-selector') for (const m of tree.matchers) labels[m.name] = m.value;
  }
  return { labels, rest: line.slice(index).trim() };
}

/** `1 2+3x4 _x3 stale`: each sample, `undefined` where there is none. */
export function readValues(text: string): (number | undefined)[] {
  const out: (number | undefined)[] = [];
  for (const item of text.split(/\s+/).filter((part) => part !== '')) {
    const gap = /^_(?:x(\d+))?$/.exec(item);
    const run =
      /^([+-]?(?:[\d.]+(?:e[+-]?\d+)?|inf|nan))(?:([+-](?:[\d.]+(?:e[+-]?\d+)?|inf|nan)))?x(\d+)$/i.exec(
        item,
      );
    if (gap !== null) for (let i = 0; i < Number(gap[1] ?? 1); i++) out.push(undefined);
    else if (item === 'stale') out.push(STALE_NAN);
    else if (run !== null) {
      let value = parseFloatText(run[1] ?? '');
      for (let i = 0; i <= Number(run[3]); i++) {
        out.push(value);
        value += run[2] === undefined ? 0 : parseFloatText(run[2]);
      }
    } else {
      const value = /^nan$/i.test(item) ? Number.NaN : parseFloatText(item);
      if (Number.isNaN(value) && !/^nan$/i.test(item)) throw new Error(`cannot read the value ${item}`);
      out.push(value);
    }
  }
  return out;
}

function unreadableIn(lines: readonly string[]): string | undefined {
  if (lines.some((line) => line.includes('{{'))) return 'native histograms';
  return lines.some((line) => /^expect string/.test(line) || /^"/.test(line)) ? 'string results' : undefined;
}

function load(head: string, lines: readonly string[]): Command {
  const [kind, step = '0'] = head.split(/\s+/);
  let unreadable = unreadableIn(lines) ?? (kind === 'load' ? undefined : kind);
  if (lines.some((line) => line.includes('@st'))) unreadable = 'start timestamps';
  const stepMs = time(step);
  const series: LoadedSeries[] = [];
  for (const line of lines) {
    if (line.includes('{{') || line.includes('@st')) continue;
    const { labels, rest } = readMetric(line);
    const one: LoadedSeries = { labels, times: [], values: [] };
    readValues(rest).forEach((value, index) => {
      if (value === undefined) return;
      one.times.push(index * stepMs);
      one.values.push(value);
    });
    series.push(one);
  }
  return { kind: 'load', series, unreadable };
}

function evaluation(head: string, lines: readonly string[], line: number): Evaluation {
  const instant = /^eval(?:_(fail|warn|info|ordered))?\s+instant\s+(?:at\s+(\S+)\s+)?(.*)$/.exec(head);
  const range =
    /^eval(?:_(fail|warn|info|ordered))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.*)$/.exec(
      head,
    );
  if (instant === null && range === null) throw new Error(`cannot read line ${line}: ${head}`);
  const mode = instant?.[1] ?? range?.[1];
  const expects = lines.filter((text) => /^expect(ed_fail)?\b/.test(text));
  const data = lines.filter((text) => !/^expect/.test(text));
  const unreadable = unreadableIn(lines);
  const matrix = expects
    .map((text) => /^expect range vector from (\S+) to (\S+) step (\S+)/.exec(text))
    .find((m) => m !== null);
  const expected: ExpectedSeries[] = [];
  let scalar: number | undefined;
  if (unreadable === undefined) {
    for (const text of data) {
      if (/^[-+]?(\d|inf\b|nan\b)/i.test(text)) scalar = readValues(text)[0];
      else {
        const { labels, rest } = readMetric(text);
        expected.push({ labels, values: readValues(rest) });
      }
    }
  }
  return {
    line,
    query: instant?.[3] ?? range?.[5] ?? '',
    start: time(matrix?.[1] ?? instant?.[2] ?? range?.[2] ?? '0'),
    at: time(instant?.[2] ?? '0'),
    end: time(instant?.[2] ?? range?.[3] ?? '0'),
    step: matrix === undefined ? (range === null ? 0 : time(range[4] ?? '1')) : time(matrix[3] ?? '1'),
    matrix: matrix !== undefined,
    ordered: mode === 'ordered' || expects.some((text) => /^expect ordered/.test(text)),
    fails: mode === 'fail' || expects.some((text) => /^expect(ed_fail| fail)/.test(text)),
    unreadable,
    expected,
    scalar,
  };
}

/** Reads a whole script. */
export function readScript(text: string): Command[] {
  const lines = text.split('\n').map((line) => line.replace(/(^|\s)#.*$/, '').trim());
  const commands: Command[] = [];
  let index = 0;
  while (index < lines.length) {
    const head = lines[index] ?? '';
    const at = ++index;
    if (head === '') continue;
    const body: string[] = [];
    // A command ends at an empty line or where the next one begins.
    while (index < lines.length && lines[index] !== '' && !/^(clear|load|eval)/.test(lines[index] ?? '')) {
      body.push(lines[index++] ?? '');
    }
    if (head === 'clear') commands.push({ kind: 'clear' });
    else if (head.startsWith('load')) commands.push(load(head, body));
    else if (head.startsWith('eval')) commands.push({ kind: 'eval', evaluation: evaluation(head, body, at) });
    else throw new Error(`line ${at}: unknown command ${head}`);
  }
  return commands;
}
