// Query errors that point at the place in the text.

import { MonitoringError } from '../errors.ts';

function place(query: string, position: number): { line: number; column: number } {
  const before = query.slice(0, position).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

/** A query that does not parse or type-check. `position` is an offset in UTF-16 units. */
export function invalidQuery(query: string, position: number, why: string, hint?: string): MonitoringError {
  const { line, column } = place(query, position);
  return new MonitoringError(
    'INVALID_QUERY',
    `cannot parse the query at line ${line}, column ${column}: ${why}`,
    {
      ...(hint === undefined ? {} : { hint }),
      details: { position, line, column, near: query.slice(position, position + 20) },
    },
  );
}

/** A query that Prometheus would take and this evaluator does not. */
export function unsupportedQuery(query: string, position: number, what: string): MonitoringError {
  const { line, column } = place(query, position);
  return new MonitoringError(
    'NOT_SUPPORTED',
    `the query uses ${what} at line ${line}, column ${column}, which is not supported`,
    {
      details: { position, line, column, feature: what },
    },
  );
}
