// environment and env_file: maps, lists, and files of KEY=VALUE lines.

import type { Cursor } from './cursor.ts';
import type { FileShelf } from './files.ts';
import { interpolate } from './interpolate.ts';

/** Reads a mapping or a list of KEY=VALUE. A key without value takes it from the caller's environment, if it is there. */
export function readKeyValues(cursor: Cursor, inherit: boolean): Record<string, string> {
  const values: Record<string, string> = {};
  const put = (key: string, value: string | undefined, at: Cursor): void => {
    if (key === '') {
      at.problem('has no name before "="');
      return;
    }
    if (value !== undefined) {
      values[key] = value;
    } else if (inherit) {
      const inherited = cursor.reading.environment[key];
      if (inherited !== undefined) values[key] = inherited;
    } else {
      values[key] = '';
    }
  };
  if (cursor.isList) {
    for (const item of cursor.items()) {
      const text = item.text();
      if (text === undefined) continue;
      const equals = text.indexOf('=');
      put(equals < 0 ? text : text.slice(0, equals), equals < 0 ? undefined : text.slice(equals + 1), item);
    }
    return values;
  }
  for (const { key, value, at } of cursor.entries('a mapping, or a list of KEY=VALUE')) {
    if (value.empty) put(key, undefined, at);
    else {
      const text = value.text();
      if (text !== undefined) put(key, text, at);
    }
  }
  return values;
}

/** Reads `env_file`: a path, a list of paths, or of `{ path, required }`. Later files win. */
export function readEnvFiles(
  cursor: Cursor,
  files: FileShelf,
  pathOf: (text: string) => string,
): Record<string, string> {
  const values: Record<string, string> = {};
  const take = (place: Cursor, required: boolean): void => {
    const path = place.text('a path');
    if (path === undefined) return;
    const file = files.get(pathOf(path));
    if (file === undefined) return;
    if ('error' in file) {
      if (required) place.problem(`cannot read env_file "${path}": ${file.error}`);
      return;
    }
    Object.assign(values, parseEnvFile(file.content, path, place));
  };
  const items = cursor.isList ? cursor.items() : [cursor];
  for (const item of items) {
    if (!item.isMap) {
      take(item, true);
      continue;
    }
    let required = true;
    let path: Cursor | undefined;
    item.fields(
      {
        path: (value) => {
          path = value;
        },
        required: (value) => {
          required = value.boolean() ?? true;
        },
      },
      { format: 'files of KEY=VALUE lines are read' },
    );
    if (path === undefined) item.problem('has no path');
    else take(path, required);
  }
  return values;
}

/** KEY=VALUE lines as Compose reads them: comments, `export`, single quotes (verbatim), double quotes (escapes). */
function parseEnvFile(content: string, path: string, place: Cursor): Record<string, string> {
  const values: Record<string, string> = {};
  const scope = { ...place.reading.environment };
  for (const [index, line] of content
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const match = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:=\s*(.*))?$/.exec(trimmed);
    const [, key, raw] = match ?? [];
    if (key === undefined) {
      place.problem(`${path}:${index + 1} is no KEY=VALUE line: "${trimmed.slice(0, 60)}"`);
      continue;
    }
    if (raw === undefined) {
      const inherited = place.reading.environment[key];
      if (inherited !== undefined) values[key] = inherited;
      continue;
    }
    const { text, verbatim } = unquote(raw);
    // Values may refer to variables of lines above.
    const result = verbatim ? { text, problems: [] } : interpolate(text, { ...scope, ...values });
    for (const { message, hint } of result.problems) place.problem(`${path}:${index + 1}: ${message}`, hint);
    values[key] = result.text;
  }
  return values;
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  '"': '"',
  '\\': '\\',
  $: '$$',
};

function unquote(raw: string): { text: string; verbatim: boolean } {
  const single = /^'([^']*)'\s*(?:#.*)?$/.exec(raw);
  if (single !== null) return { text: single[1] ?? '', verbatim: true };
  const double = /^"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$/.exec(raw);
  if (double !== null) {
    const inner = (double[1] ?? '').replaceAll(/\\(.)/g, (whole, letter: string) => ESCAPES[letter] ?? whole);
    return { text: inner, verbatim: false };
  }
  return { text: raw.replace(/\s+#.*$/, '').trim(), verbatim: false };
}
