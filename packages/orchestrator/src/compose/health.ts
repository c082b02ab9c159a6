// healthcheck and x-heptad.health: how to tell that a container works.

import { type HealthCheck, healthCheck } from '@heptad/core';
import type { Cursor, Fields } from './cursor.ts';

/** A health check as far as it was read; undefined parts take their defaults. */
type Draft = { -readonly [K in keyof HealthCheck]?: HealthCheck[K] };

const RETRIES = { min: 1, max: 1_000 };
const PORTS = { min: 1, max: 65_535 };

/** Reads Compose's `healthcheck`. Undefined when there is none or it is disabled. */
export function readHealthcheck(cursor: Cursor): HealthCheck | undefined {
  const draft: Draft = {};
  let disabled = false;
  cursor.fields({
    test: (value) => {
      const test = readTest(value);
      if (test === 'none') disabled = true;
      else if (test !== undefined) draft.command = test;
    },
    disable: (value) => {
      disabled = value.boolean() ?? false;
    },
    ...timing(draft, { startPeriod: 'start_period', startInterval: 'start_interval' }),
  });
  if (disabled) return undefined;
  if (cursor.get('test') === undefined) {
    cursor.problem('has no test', 'write test: ["CMD", "program", "argument"] or test: "shell command"');
    return undefined;
  }
  return draft.command === undefined ? undefined : finish(draft, cursor);
}

function readTest(cursor: Cursor): string[] | 'none' | undefined {
  if (!cursor.isList) {
    const text = cursor.text('a shell command or a list');
    return text === undefined ? undefined : ['/bin/sh', '-c', text];
  }
  const [kind, ...rest] = cursor.texts();
  if (kind === 'NONE') return 'none';
  if (kind === 'CMD-SHELL' && rest.length === 1) return ['/bin/sh', '-c', ...rest];
  if (kind === 'CMD' && rest.length > 0) return rest;
  return cursor.problem(
    'must begin with CMD, CMD-SHELL or NONE',
    'write ["CMD", "program", "argument"], ["CMD-SHELL", "shell command"] or ["NONE"]',
  );
}

/** Reads `x-heptad.health`: `http: "8080/health"` or `{ port, path }`, or `tcp: 5432`, with the same timing keys. */
export function readHealth(cursor: Cursor): HealthCheck | undefined {
  const draft: Draft = {};
  cursor.fields({
    http: (value) => {
      const http = readHttp(value);
      if (http !== undefined) draft.http = http;
    },
    tcp: (value) => {
      const port = value.isMap ? value.get('port') : value;
      const number = port?.integer(PORTS, 'a port');
      if (number !== undefined) draft.tcp = { port: number };
      else if (port === undefined) value.problem('has no port');
    },
    command: (value) => {
      draft.command = value.texts('a list: program and arguments');
    },
    onFailure: (value) => {
      const choice = value.choice(['restart', 'none']);
      if (choice !== undefined) draft.onFailure = choice;
    },
    ...timing(draft, { startPeriod: 'startPeriod', startInterval: 'startInterval' }),
  });
  const kinds = ['http', 'tcp', 'command'].filter((key) => cursor.get(key) !== undefined);
  if (kinds.length !== 1) return cursor.problem('needs exactly one of http, tcp and command');
  if (draft.http === undefined && draft.tcp === undefined && draft.command === undefined) return undefined;
  return finish(draft, cursor);
}

function readHttp(cursor: Cursor): { path: string; port: number } | undefined {
  if (cursor.isMap) {
    let path: string | undefined = '/';
    let port: number | undefined;
    cursor.fields({
      path: (value) => {
        path = value.text('a path');
      },
      port: (value) => {
        port = value.integer(PORTS, 'a port');
      },
    });
    if (cursor.get('port') === undefined) return cursor.problem('has no port');
    if (path !== undefined && !path.startsWith('/'))
      return cursor.problem(`path "${path}" must begin with /`);
    return path === undefined || port === undefined ? undefined : { path, port };
  }
  const text = cursor.text('port and path such as "8080/health"');
  if (text === undefined) return undefined;
  const match = /^:?(\d{1,5})(\/.*)?$/.exec(text);
  const port = Number(match?.[1]);
  if (match === null || port < PORTS.min || port > PORTS.max) {
    return cursor.problem(
      `"${text}" is no port and path`,
      'write "8080/health", or { port: 8080, path: /health }',
    );
  }
  return { port, path: match[2] ?? '/' };
}

function timing(draft: Draft, names: { startPeriod: string; startInterval: string }): Fields {
  const duration =
    (key: 'intervalMs' | 'timeoutMs' | 'startPeriodMs' | 'startIntervalMs') =>
    (value: Cursor): void => {
      const ms = value.duration();
      if (ms !== undefined) draft[key] = ms;
    };
  return {
    interval: duration('intervalMs'),
    timeout: duration('timeoutMs'),
    retries: (value) => {
      const retries = value.integer(RETRIES, 'a number of retries');
      if (retries !== undefined) draft.retries = retries;
    },
    [names.startPeriod]: duration('startPeriodMs'),
    [names.startInterval]: duration('startIntervalMs'),
  };
}

function finish(draft: Draft, cursor: Cursor): HealthCheck | undefined {
  const parsed = healthCheck.safeParse(draft);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    cursor.problem(`${issue.path.map(String).join('.')}: ${issue.message}`);
  }
  return undefined;
}
