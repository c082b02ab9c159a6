// The HTTP API, read off the route declarations; the full schema is served by a running platform.

import { globSync, readFileSync } from 'node:fs';
import { table } from './markdown.ts';

const routes = new URL('../../../apps/platform/src/server/routes/', import.meta.url).pathname;

/** The page of routes. */
export function httpApiPage(): string {
  const rows: { verb: string; path: string }[] = [];
  for (const file of globSync(`${routes}**/*.ts`)) {
    if (/internal\.ts$|\.test\.ts$/.test(file)) continue;
    const text = readFileSync(file, 'utf8');
    for (const [, verb = '', path = ''] of text.matchAll(
      /\.(get|put|post|delete|head|patch)\(\s*['`](\/[^'`]*)['`]/g,
    )) {
      // A template in a path comes from a loop over verbs, which stands right above it.
      const values = /\$\{(\w+)\}/.exec(path)?.[1];
      const list = values === undefined ? [''] : valuesOf(text, values);
      for (const value of list)
        rows.push({ verb: verb.toUpperCase(), path: path.replace(/\$\{\w+\}/, value) });
    }
  }
  rows.sort((a, b) => (a.path === b.path ? (a.verb < b.verb ? -1 : 1) : a.path < b.path ? -1 : 1));
  return `# HTTP API

Served on \`127.0.0.1:7070\`. Requests carry \`Authorization: Bearer TOKEN\` (\`heptad security login\`, or
\`heptad security token\` for scripts); every route is checked against the access matrix and denied by default. Errors
are problem documents (RFC 9457) with our [code](./errors). Lists take \`?limit=&cursor=\`.

A running platform serves the exact schemas: \`/openapi.json\`, and a reference to click through at \`/docs\`. This list is
read off its sources.

${table(
  ['verb', 'path'],
  rows.map(({ verb, path }) => [verb, `\`${path.replace(/:(\w+)/g, '{$1}')}\``]),
)}

OTLP is taken at \`/v1/traces\`, \`/v1/metrics\` and \`/v1/logs\`. Replicated objects are also served as S3 where the storage
nodes are asked for it; see [Storage](/guides/storage).
`;
}

function valuesOf(text: string, name: string): string[] {
  const list = new RegExp(`for \\(const ${name} of (\\[[^\\]]*\\])`).exec(text)?.[1];
  return list === undefined ? [`{${name}}`] : [...list.matchAll(/'([^']+)'/g)].map(([, value = '']) => value);
}
