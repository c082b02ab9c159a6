// What people and scripts see: data on stdout (table or JSON), progress and errors on stderr.

import { formatDuration, isHeptadError } from '@heptad/core';

/** Exit codes of every command (SURFACE: they are a promise). */
export const EXIT = { ok: 0, error: 1, changesPending: 2, notFound: 3, refused: 4, timeout: 5 } as const;

const EXIT_OF_CODE: Readonly<Record<string, number>> = {
  FORBIDDEN: EXIT.refused,
  ACCESS_DENIED: EXIT.refused,
  POLICY_VIOLATION: EXIT.refused,
  POLICY_DENIED: EXIT.refused,
  IMAGE_NOT_TRUSTED: EXIT.refused,
  LAST_ADMIN: EXIT.refused,
  RATE_LIMITED: EXIT.refused,
  TOO_MANY_ATTEMPTS: EXIT.refused,
  UNAUTHENTICATED: EXIT.refused,
  TOKEN_INVALID: EXIT.refused,
  TOKEN_EXPIRED: EXIT.refused,
  TOKEN_REUSED: EXIT.refused,
  AUTHENTICATION_FAILED: EXIT.refused,
  UNKNOWN_CENTER: EXIT.notFound,
  TIMEOUT: EXIT.timeout,
  NODE_TIMEOUT: EXIT.timeout,
};

/** The exit code an error deserves. */
export function exitCodeOf(error: unknown): number {
  if (!isHeptadError(error)) return EXIT.error;
  if (/(^|_)NOT_FOUND$/.test(error.code)) return EXIT.notFound;
  return EXIT_OF_CODE[error.code] ?? EXIT.error;
}

/** Prints a message for people on stderr. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Prints an error as people can use it: what, then what to do. */
export function sayError(error: unknown): void {
  if (isHeptadError(error)) {
    say(`heptad: ${error.message}`);
    if (error.hint !== undefined) say(`  hint: ${error.hint}`);
    if (process.env.HEPTAD_DEBUG === '1') say(String(error.stack));
  } else {
    say(`heptad: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
}

/** One JSON document on stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** A table on stdout, columns as wide as their content. */
export function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  process.stdout.write(`${[line(header), ...rows.map(line)].join('\n')}\n`);
}

/** How long ago, as `3m`. */
export function age(at: number | undefined, now: number): string {
  return at === undefined ? '-' : formatDuration(Math.max(0, Math.round((now - at) / 1000) * 1000));
}
