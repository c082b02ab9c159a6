// Every error code that the sources can throw, with what is said of it where it is declared.

import { globSync, readFileSync } from 'node:fs';
import { cell, table } from './markdown.ts';

const root = new URL('../../../', import.meta.url).pathname;

/** The page of error codes. */
export function errorsPage(): string {
  const sections = [
    'core',
    'container',
    'orchestrator',
    'mesh',
    'storage',
    'security',
    'dr',
    'monitoring',
    'platform',
  ].map((name) => {
    const directory = name === 'platform' ? 'apps/platform' : `packages/${name}`;
    const codes = codesOf(directory);
    if (codes.size === 0) return '';
    const rows = [...codes]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([code, says]) => [`<a id="${anchor(name, code)}"></a>\`${code}\``, cell(says)]);
    return `## @heptad/${name}\n\n${table(['code', 'when, or the message'], rows)}\n`;
  });
  return `# Error codes

Every error that Heptad throws on purpose is a \`HeptadError\` with a stable \`code\`, a message that says what was done to
what and why it failed, and mostly a \`hint\` that says what to do. Recognise one by its code, never by its message:

\`\`\`ts
import { isHeptadError } from '@heptad/core';

try {
  // …
} catch (error) {
  if (isHeptadError(error, 'REVISION_CONFLICT')) console.log('somebody else was faster:', error.message);
  else throw error;
}
\`\`\`

Over HTTP an error is a problem document (RFC 9457) whose \`code\` is the same; the command line prints message and hint.
\`retryable\` says that the same call may succeed later. An operation whose outcome is unknown is never retryable.

This page is read off the sources: a text stands beside a code where its declaration or first use explains it.

${sections.join('\n')}`;
}

function anchor(name: string, code: string): string {
  return `${name}-${code.toLowerCase().replaceAll('_', '-')}`;
}

function codesOf(directory: string): Map<string, string> {
  const codes = new Map<string, string>();
  const note = (code: string | undefined, says: string): void => {
    if (code === undefined || (codes.get(code) ?? '') !== '') return;
    codes.set(
      code,
      says
        .replace(/\{@link ([^}|]+)[^}]*\}/g, '`$1`')
        .replace(/\s+/g, ' ')
        .trim(),
    );
  };
  for (const file of globSync(`${root}${directory}/src/**/*.ts`)) {
    if (file.endsWith('.test.ts')) continue;
    const text = readFileSync(file, 'utf8');
    // Members of a code union, with the comment above or beside each.
    for (const [, body = ''] of text.matchAll(
      /type \w*Code\b[^=]*=((?:\s*(?:\/\*\*[\s\S]*?\*\/|\/\/[^\n]*)?\s*\|?\s*'[A-Z][A-Z0-9_]+')+)/g,
    )) {
      for (const [, comment = '', code] of body.matchAll(
        /(?:\/\*\*([\s\S]*?)\*\/)?\s*\|?\s*'([A-Z][A-Z0-9_]+)'/g,
      )) {
        note(code, comment.replace(/^\s*\*\s?/gm, ' '));
      }
    }
    // Else the message of a first use; what is filled in is shown as an ellipsis.
    for (const [, code, message = ''] of text.matchAll(
      /'([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|CLOSED)',\s*(?:`([^`]*)`|'([^']*)')/g,
    )) {
      if (/^[a-z]/.test(message)) note(code, `“${message.replace(/\$\{[^}]*\}+/g, '…')}”`);
    }
    for (const [, code] of text.matchAll(/new \w*Error(?:<[^>]*>)?\(\s*'([A-Z][A-Z0-9_]+)'/g)) note(code, '');
  }
  return codes;
}
