// The mistakes in an experiment file, each with line, column and path, as one error.

import { HeptadError } from '@heptad/core';
import { isNode, type LineCounter, type parseDocument } from 'yaml';
import type { z } from 'zod';

/** One mistake in an experiment file. */
export interface ExperimentIssue {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** `experiment.scenarios[0].params.latency` */
  readonly path: string;
  readonly message: string;
}

/** A document's text position as a person counts: from 1. */
export function positionAt(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

/** The schema's issues, each at the place in the text it is about. */
export function issuesOf(
  issues: readonly z.core.$ZodIssue[],
  document: ReturnType<typeof parseDocument>,
  lines: LineCounter,
): ExperimentIssue[] {
  return flatten(issues).map(({ path, message }) => ({
    ...positionAt(lines, locate(document, path)),
    path: pathText(path),
    message,
  }));
}

function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');
}

// One issue a mistake: zod gathers all unknown keys of an object in a single issue at the object itself.
function flatten(issues: readonly z.core.$ZodIssue[]): { path: PropertyKey[]; message: string }[] {
  return issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({
          path: [...issue.path, key],
          message: `unknown key "${key}"; known here: ${knownKeys(issue.path).join(', ')}`,
        }))
      : [{ path: [...issue.path], message: issue.message }],
  );
}

function knownKeys(path: readonly PropertyKey[]): string[] {
  const text = pathText(path);
  if (text === '') return ['experiment'];
  if (text === 'experiment') return ['name', 'scenarios', 'metrics'];
  if (/metrics\[\d+\]$/.test(text)) return ['name', 'source', 'threshold'];
  if (/scenarios\[\d+\]$/.test(text)) return ['type', 'target', 'params'];
  return [
    'latency, jitter, duration, direction, existing (network-latency)',
    'count, percentage, duration, interval, recovery (pod-failure)',
  ];
}

// Offset of the node at the path, or of its nearest ancestor when the path is of something missing.
function locate(document: ReturnType<typeof parseDocument>, path: readonly PropertyKey[]): number {
  for (let depth = path.length; depth > 0; depth -= 1) {
    const node = document.getIn(path.slice(0, depth), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return document.contents?.range?.[0] ?? 0;
}

/** The error that lists them: `INVALID_EXPERIMENT`. */
export function invalidExperiment(issues: readonly ExperimentIssue[]): HeptadError<'INVALID_EXPERIMENT'> {
  const list = issues.map(
    ({ line, column, path, message }) => `  ${line}:${column} ${path === '' ? '' : `${path}: `}${message}`,
  );
  const count = issues.length === 1 ? 'one mistake' : `${issues.length} mistakes`;
  return new HeptadError('INVALID_EXPERIMENT', `cannot read the experiment: ${count}\n${list.join('\n')}`, {
    hint: 'the format is experiment{name, scenarios[{type, target, params}], metrics[{name, source, threshold}]}',
    details: { issues },
  });
}
