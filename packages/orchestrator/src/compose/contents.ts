// configs and secrets: declared at the top level, mounted as files in memory by services.

import type { ServiceSpec } from '@heptad/core';
import type { Cursor } from './cursor.ts';
import type { FileShelf } from './files.ts';

/** One declared config or secret. Content undefined: it could not be read, which is a problem already. */
export interface DeclaredContent {
  readonly content: string | undefined;
}

/** Reads the top-level `configs` or `secrets`. */
export function readContents(
  cursor: Cursor,
  files: FileShelf,
  pathOf: (text: string) => string,
): Map<string, DeclaredContent> {
  const contents = new Map<string, DeclaredContent>();
  for (const { key, value } of cursor.entries()) {
    contents.set(key, { content: readContent(value, files, pathOf) });
  }
  return contents;
}

function readContent(cursor: Cursor, files: FileShelf, pathOf: (text: string) => string): string | undefined {
  let content: string | undefined;
  const sources = ['file', 'environment', 'content'].filter((key) => cursor.get(key) !== undefined);
  cursor.fields(
    {
      file: (value) => {
        const path = value.text('a path');
        if (path === undefined) return;
        const file = files.get(pathOf(path));
        if (file === undefined) return;
        if ('error' in file) value.problem(`cannot read "${path}": ${file.error}`);
        else content = file.content;
      },
      environment: (value) => {
        const name = value.text('the name of a variable');
        if (name === undefined) return;
        content = cursor.reading.environment[name];
        if (content === undefined) value.problem(`the variable ${name} is not set`);
      },
      content: (value) => {
        content = value.text();
      },
      labels: () => {
        // Labels of a config say nothing about what runs; Compose allows them for people.
      },
    },
    {
      external: 'give its file, environment or content here',
      name: 'it is known by its key',
      driver: '',
      driver_opts: '',
      template_driver: '',
    },
  );
  if (sources.length !== 1) cursor.problem('needs exactly one of file, environment and content');
  return content;
}

/** Reads a service's `configs` or `secrets`. */
export function readMounted(
  cursor: Cursor,
  what: 'config' | 'secret',
  declared: ReadonlyMap<string, DeclaredContent>,
): ServiceSpec['files'] {
  return cursor.items(`a list of ${what}s`).flatMap((item) => {
    let source: string | undefined;
    let target: string | undefined;
    if (item.isMap) {
      item.fields(
        {
          source: (value) => {
            source = value.text(`the name of a ${what}`);
          },
          target: (value) => {
            target = value.text('a path');
          },
        },
        { uid: '', gid: '', mode: what === 'secret' ? 'secrets are readable by their owner only' : '' },
      );
      if (item.get('source') === undefined) item.problem('has no source');
    } else {
      source = item.text(`the name of a ${what}`);
    }
    if (source === undefined) return [];
    const found = declared.get(source);
    if (found === undefined) {
      item.problem(`${what} "${source}" is not declared`, `add it at the top level under ${what}s`);
      return [];
    }
    // As Compose has it: secrets below /run/secrets, configs at the root; a relative target likewise.
    const root = what === 'secret' ? '/run/secrets/' : '/';
    const path = target === undefined ? root + source : target.startsWith('/') ? target : root + target;
    return found.content === undefined
      ? []
      : [{ target: path, content: found.content, secret: what === 'secret' }];
  });
}
