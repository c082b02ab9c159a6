// Paths of an image as paths of this machine: a plain process sees the real file system, so what it is told is translated.

import type { ContainerSpec } from '@heptad/core';

/** A path inside an image and where it really is. */
export interface PathMapping {
  readonly target: string;
  readonly source: string;
}

/** A value that is, or lies below, a mapped path becomes the real one; any other stays as it is. */
export function translate(value: string, mappings: readonly PathMapping[]): string {
  // The longest target counts: a mount may lie below another.
  const fitting = mappings
    .filter(({ target }) => value === target || value.startsWith(`${target}/`))
    .sort((one, other) => other.target.length - one.target.length)[0];
  return fitting === undefined ? value : fitting.source + value.slice(fitting.target.length);
}

/** The program of a command line: the image's Node is this machine's. */
export function translateCommand(
  command: readonly string[],
  mappings: readonly PathMapping[],
  nodeBinary: string,
): string[] {
  const [program, ...args] = command;
  if (program === undefined) return [];
  const isNode = program === 'node' || program.endsWith('/bin/node');
  return [isNode ? nodeBinary : translate(program, mappings), ...args.map((arg) => translate(arg, mappings))];
}

/** Where mounts and secrets of a spec lie for a plain process. */
export function specMappings(spec: ContainerSpec, directory: string, volumes: string): PathMapping[] {
  const mounts = (spec.mounts ?? []).map((mount, index): PathMapping => {
    if (mount.type === 'bind') return { target: mount.target, source: mount.source };
    if (mount.type === 'volume') return { target: mount.target, source: `${volumes}/${mount.name}/data` };
    return { target: mount.target, source: `${directory}/tmpfs-${index}` };
  });
  const secrets = (spec.secrets ?? []).map((secret, index) => ({
    target: secret.target,
    source: `${directory}/secrets/${index}`,
  }));
  return [...mounts, ...secrets];
}
