// volumes and tmpfs: named volumes, directories of the host, memory.

import { createHash } from 'node:crypto';
import type { ServiceSpec } from '@heptad/core';
import type { Cursor } from './cursor.ts';

type Volume = ServiceSpec['volumes'][number];

/** What volumes of a service are read against. */
export interface VolumeScope {
  readonly project: string;
  readonly service: string;
  /** Names under the top-level `volumes`. */
  readonly declared: ReadonlyMap<string, string>;
  readonly pathOf: (text: string) => string;
}

/** Reads `volumes` of a service. */
export function readVolumes(cursor: Cursor, scope: VolumeScope): Volume[] {
  return cursor
    .items('a list of volumes')
    .flatMap((item) => (item.isMap ? readLong(item, scope) : readShort(item, scope)));
}

/** Reads `tmpfs`: a path, or a list of paths with options (`/run:size=64m`). */
export function readTmpfs(cursor: Cursor): Volume[] {
  const items = cursor.isList ? cursor.items() : [cursor];
  return items.flatMap((item): Volume[] => {
    const text = item.text('a path');
    if (text === undefined) return [];
    const [target = '', options] = text.split(':');
    if (!absolute(target, item)) return [];
    if (options !== undefined)
      item.problem('options of tmpfs are not supported', 'use volumes with type: tmpfs');
    return [{ type: 'tmpfs', target }];
  });
}

function absolute(path: string, at: Cursor): boolean {
  if (path.startsWith('/')) return true;
  at.problem(`"${path}" must be an absolute path inside the container`);
  return false;
}

function readShort(item: Cursor, scope: VolumeScope): Volume[] {
  const text = item.text('a volume such as "data:/var/lib/data"');
  if (text === undefined) return [];
  const parts = text.split(':');
  if (parts.length > 3) {
    item.problem(`"${text}" has too many parts`, 'write source:target or source:target:ro');
    return [];
  }
  const [first = '', second, mode = 'rw'] = parts;
  if (second === undefined)
    return absolute(first, item)
      ? [{ type: 'volume', name: anonymousName(first, scope), target: first, readOnly: false }]
      : [];
  if (mode !== 'ro' && mode !== 'rw') {
    item.problem(
      `"${mode}" must be ro or rw`,
      'labels and propagation (z, Z, rshared, ...) are not supported',
    );
    return [];
  }
  if (!absolute(second, item)) return [];
  const readOnly = mode === 'ro';
  if (/^[./~]/.test(first)) {
    if (first.startsWith('~')) {
      item.problem('~ is not supported', 'write the directory out, or use the variable HOME');
    }
    return [{ type: 'bind', source: scope.pathOf(first), target: second, readOnly }];
  }
  return named(first, second, readOnly, scope, item);
}

function named(name: string, target: string, readOnly: boolean, scope: VolumeScope, at: Cursor): Volume[] {
  const volume = scope.declared.get(name);
  if (volume === undefined) {
    at.problem(
      `volume "${name}" is not declared`,
      `add it at the top level (volumes: { ${name}: }), or write ./${name} for a directory`,
    );
    return [];
  }
  return [{ type: 'volume', name: volume, target, readOnly }];
}

/** The same volume at each deployment, as long as it is mounted at the same place. */
function anonymousName(target: string, scope: VolumeScope): string {
  const digest = createHash('sha256').update(target).digest('hex').slice(0, 8);
  return `${scope.project}_${scope.service}_${digest}`;
}

const NO_OPTIONS = 'volumes are plain directories of the node';

function readLong(item: Cursor, scope: VolumeScope): Volume[] {
  let type: 'bind' | 'volume' | 'tmpfs' | undefined;
  let source: Cursor | undefined;
  let target: string | undefined;
  let readOnly = false;
  let sizeBytes: number | undefined;
  item.fields(
    {
      type: (value) => {
        type = value.choice(['bind', 'volume', 'tmpfs']);
      },
      source: (value) => {
        source = value;
      },
      target: (value) => {
        target = value.text('a path');
      },
      read_only: (value) => {
        readOnly = value.boolean() ?? false;
      },
      tmpfs: (value) =>
        value.fields(
          {
            size: (size) => {
              sizeBytes = size.bytes();
            },
          },
          { mode: '' },
        ),
    },
    { bind: NO_OPTIONS, volume: NO_OPTIONS, consistency: NO_OPTIONS, image: NO_OPTIONS },
  );
  if (item.get('type') === undefined) item.problem('has no type', 'write type: bind, volume or tmpfs');
  if (item.get('target') === undefined) item.problem('has no target, the path inside the container');
  if (type === undefined || target === undefined || !absolute(target, item)) return [];
  if (type === 'tmpfs') return [{ type, target, ...(sizeBytes === undefined ? {} : { sizeBytes }) }];
  const name = source?.text('a source');
  if (name === undefined) {
    if (source !== undefined) return [];
    if (type === 'volume') return [{ type: 'volume', name: anonymousName(target, scope), target, readOnly }];
    item.problem('has no source, the directory of the host');
    return [];
  }
  if (type === 'bind') return [{ type, source: scope.pathOf(name), target, readOnly }];
  return named(name, target, readOnly, scope, item);
}
