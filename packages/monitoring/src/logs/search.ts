// The search language of logs: `level:warn service:orders trace:4bf9… "exact words" text* -not`.

import { MonitoringError } from '../errors.ts';
import { LOG_LEVELS, type LogLevel } from './log-types.ts';

/** One condition. Conditions are joined by AND. */
export type LogCondition =
  | { readonly kind: 'text'; readonly words: string; readonly prefix: boolean; readonly negated: boolean }
  | { readonly kind: 'level'; readonly levels: readonly LogLevel[]; readonly negated: boolean }
  | { readonly kind: 'service' | 'trace' | 'span'; readonly value: string; readonly negated: boolean }
  | { readonly kind: 'attribute'; readonly key: string; readonly value: string; readonly negated: boolean };

const MAX_SEARCH_LENGTH = 2000;
const MAX_CONDITIONS = 32;

/**
 * Reads a search.
 *
 * Words match whole words of the body in any case, `conn*` begins of words, `"connection refused"` words in a row.
 * `level:warn` means exactly that level, `level:>=warn` it and worse. `service:`, `trace:`, `span:` match exactly; any
 * other `key:value` matches an attribute. `-` in front excludes. Throws `INVALID_QUERY` with the position.
 *
 * @example
 * ```ts
 * import { parseLogSearch } from '@heptad/monitoring';
 *
 * console.log(parseLogSearch('level:>=warn service:orders "connection refused"').length); // 3
 * ```
 */
export function parseLogSearch(search: string): LogCondition[] {
  if (search.length > MAX_SEARCH_LENGTH)
    throw bad(MAX_SEARCH_LENGTH, `it is longer than ${MAX_SEARCH_LENGTH} characters`);
  const conditions: LogCondition[] = [];
  const item = /\s*(-?)(?:([\w.@/-]+):)?(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))/y;
  let index = 0;
  while (search.slice(index).trim() !== '') {
    item.lastIndex = index;
    const match = item.exec(search);
    if (match === null) throw bad(index, 'a quote is not closed, or a value is missing');
    index = item.lastIndex;
    const [, minus, key, quoted, bare = ''] = match;
    conditions.push(
      condition(
        key,
        quoted?.replace(/\\(.)/g, '$1') ?? bare,
        quoted !== undefined,
        minus === '-',
        match.index,
      ),
    );
    if (conditions.length > MAX_CONDITIONS) throw bad(index, `it has more than ${MAX_CONDITIONS} conditions`);
  }
  return conditions;
}

function bad(position: number, why: string): MonitoringError {
  return new MonitoringError(
    'INVALID_QUERY',
    `cannot parse the log search at character ${position + 1}: ${why}`,
    {
      details: { position },
      hint: 'write words, "exact phrases", level:error, service:NAME, trace:ID or attribute:value; - excludes',
    },
  );
}

function condition(
  key: string | undefined,
  value: string,
  quoted: boolean,
  negated: boolean,
  position: number,
): LogCondition {
  switch (key) {
    case undefined: {
      const prefix = !quoted && value.endsWith('*');
      return { kind: 'text', words: prefix ? value.slice(0, -1) : value, prefix, negated };
    }
    case 'level':
    case 'severity':
      return { kind: 'level', levels: levelsOf(value, position), negated };
    case 'service':
      return { kind: 'service', value, negated };
    case 'trace':
    case 'trace_id':
      return { kind: 'trace', value: value.toLowerCase(), negated };
    case 'span':
    case 'span_id':
      return { kind: 'span', value: value.toLowerCase(), negated };
    default:
      return { kind: 'attribute', key, value, negated };
  }
}

function levelsOf(value: string, position: number): LogLevel[] {
  const atLeast = value.startsWith('>=');
  const name = value
    .slice(atLeast ? 2 : 0)
    .toLowerCase()
    .replace(/^warning$/, 'warn')
    .replace(/^err$/, 'error');
  const index = LOG_LEVELS.map(String).indexOf(name);
  const level = LOG_LEVELS[index];
  if (level === undefined)
    throw bad(position, `"${value}" is not a level; levels are ${LOG_LEVELS.join(', ')}`);
  return atLeast ? LOG_LEVELS.slice(index) : [level];
}

/** A condition as SQL over `logs`, with its parameters. */
export interface SqlCondition {
  readonly sql: string;
  readonly parameters: readonly string[];
}

/** The conditions as SQL. Text goes through the full-text index; nothing of the search becomes SQL text. */
export function logSearchSql(conditions: readonly LogCondition[]): SqlCondition[] {
  return conditions.map((one) => {
    const { sql, parameters } = conditionSql(one);
    return { sql: one.negated ? `NOT coalesce(${sql}, 0)` : sql, parameters };
  });
}

function conditionSql(one: LogCondition): SqlCondition {
  switch (one.kind) {
    case 'text': {
      // In FTS5 a doubled quote inside quotes is a quote; the rest of its syntax has no meaning there.
      const match = `"${one.words.replaceAll('"', '""')}"${one.prefix ? '*' : ''}`;
      // A search of nothing but punctuation has no word to look up.
      if (!/[\p{L}\p{N}]/u.test(one.words)) return { sql: 'instr(body, ?) > 0', parameters: [one.words] };
      return { sql: 'id IN (SELECT rowid FROM logs_text WHERE logs_text MATCH ?)', parameters: [match] };
    }
    case 'level':
      return { sql: `level IN (${one.levels.map(() => '?').join(', ')})`, parameters: one.levels };
    case 'service':
      return { sql: 'service = ?', parameters: [one.value] };
    case 'trace':
      return { sql: 'trace_id = ?', parameters: [one.value] };
    case 'span':
      return { sql: 'span_id = ?', parameters: [one.value] };
    case 'attribute':
      return { sql: 'CAST(attributes ->> ? AS TEXT) = ?', parameters: [`$."${one.key}"`, one.value] };
  }
}
