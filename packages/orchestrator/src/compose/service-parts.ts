// Parts of a service that are read by themselves: commands, build, dependencies, networks.

import type { ServiceSpec } from '@heptad/core';
import type { Cursor } from './cursor.ts';
import { readKeyValues } from './environment.ts';
import type { ComposeBuild } from './types.ts';
import { words } from './words.ts';

/** A dependency and where it was written. */
export interface PlacedDependency {
  readonly service: string;
  readonly condition: ServiceSpec['dependencies'][number]['condition'];
  readonly at: Cursor;
}

/** Reads `command` or `entrypoint`: a list of words, or a line split as a shell does. */
export function readCommand(cursor: Cursor): string[] | undefined {
  if (cursor.empty) return undefined;
  if (cursor.isList) return cursor.texts();
  const text = cursor.text('a command, or a list of its words');
  if (text === undefined) return undefined;
  const split = words(text);
  if (typeof split !== 'string') return split;
  return cursor.problem(split, 'write the command as a list of words');
}

/** Reads `build`. */
export function readBuild(
  cursor: Cursor,
  scope: { readonly pathOf: (text: string) => string },
): ComposeBuild | undefined {
  if (!cursor.isMap) {
    const context = cursor.text('a directory');
    return context === undefined ? undefined : { context: scope.pathOf(context), args: {} };
  }
  let context: string | undefined;
  let dockerfile: string | undefined;
  let target: string | undefined;
  let args: Record<string, string> = {};
  cursor.fields(
    {
      context: (value) => {
        context = value.text('a directory');
      },
      dockerfile: (value) => {
        dockerfile = value.text('a file');
      },
      target: (value) => {
        target = value.text('a stage');
      },
      args: (value) => {
        args = readKeyValues(value, true);
      },
    },
    Object.fromEntries(
      [
        'additional_contexts',
        'cache_from',
        'cache_to',
        'dockerfile_inline',
        'entitlements',
        'extra_hosts',
        'isolation',
        'labels',
        'network',
        'no_cache',
        'platforms',
        'privileged',
        'provenance',
        'pull',
        'sbom',
        'secrets',
        'shm_size',
        'ssh',
        'tags',
        'ulimits',
      ].map((key) => [key, '']),
    ),
  );
  return {
    context: scope.pathOf(context ?? '.'),
    args,
    ...(dockerfile === undefined ? {} : { dockerfile }),
    ...(target === undefined ? {} : { target }),
  };
}

const CONDITIONS = {
  service_started: 'started',
  service_healthy: 'healthy',
  service_completed_successfully: 'completed',
} as const;

/** Reads `depends_on`. */
export function readDependencies(cursor: Cursor): PlacedDependency[] {
  if (cursor.isList) {
    return cursor.items().flatMap((item) => {
      const service = item.text('the name of a service');
      return service === undefined ? [] : [{ service, condition: 'started' as const, at: item }];
    });
  }
  return cursor.entries('a mapping, or a list of services').map(({ key, value, at }) => {
    let condition: PlacedDependency['condition'] = 'started';
    value.fields({
      condition: (word) => {
        const found = word.choice(['service_started', 'service_healthy', 'service_completed_successfully']);
        if (found !== undefined) condition = CONDITIONS[found];
      },
      required: (flag) => {
        if (flag.boolean() === false)
          flag.problem('required: false is not supported', 'leave the dependency out');
      },
      restart: (flag) => {
        if (flag.boolean() === true)
          flag.problem('restart: true is not supported', 'clients reconnect by themselves');
      },
    });
    return { service: key, condition, at };
  });
}

/** Reads a service's `networks`. */
export function readNetworks(cursor: Cursor, declared: ReadonlySet<string>): string[] {
  const named = cursor.isList
    ? cursor.items().flatMap((item) => {
        const name = item.text('the name of a network');
        return name === undefined ? [] : [{ name, at: item }];
      })
    : cursor.entries('a mapping, or a list of networks').map(({ key, value, at }) => {
        if (!value.empty) value.problem('options of a service’s network are not supported');
        return { name: key, at };
      });
  return named.flatMap(({ name, at }) => {
    if (name === 'default' || declared.has(name)) return [name];
    at.problem(`network "${name}" is not declared`, 'add it at the top level under networks');
    return [];
  });
}
