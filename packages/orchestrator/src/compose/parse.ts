// parseCompose: Compose file in, services out, or every problem at once.

import { basename, dirname, isAbsolute, resolve } from 'node:path';
import { resourceName } from '@heptad/core';
import { LineCounter, parseDocument } from 'yaml';
import { readContents } from './contents.ts';
import { Cursor, type Reading } from './cursor.ts';
import { type ProjectExtension, readProjectExtension } from './extension.ts';
import { FileShelf } from './files.ts';
import { ComposeError, type ComposeProblem, codeFrame } from './problems.ts';
import { checkDependencies, checkNames, checkPorts } from './project-checks.ts';
import { type ReadService, readService, type ServiceScope } from './service.ts';
import type { ComposeOptions, ComposeProject } from './types.ts';
import { UNSUPPORTED_TOP_LEVEL_KEYS } from './unsupported.ts';

/** A Compose file longer than this is no Compose file. */
const MAXIMUM_BYTES = 4 * 1024 * 1024;
/** A pass reads files that the one before asked for; env files ask for no further ones, so two are enough. */
const MAXIMUM_PASSES = 4;
/** Aliases may multiply: beyond this many resolved nodes it is an attack. */
const MAXIMUM_ALIASES = 1_000;

/**
 * Parses a Compose file (the subset of the Compose Specification that Heptad supports, and `x-heptad`).
 *
 * What it does not support it does not drop: every unknown or unsupported key is a problem. All problems are found in
 * one go, each with path, line, column, the lines around it and, where there is one, a suggestion.
 *
 * @throws ComposeError `COMPOSE_INVALID` with `problems`.
 *
 * @example
 * ```ts
 * import { parseCompose } from '@heptad/orchestrator';
 *
 * const project = await parseCompose('services: { web: { image: "web:1.2", ports: ["8080:80"] } }');
 * const [web] = project.services;
 * if (web?.spec.ports[0]?.publishedAddress !== '127.0.0.1') throw new Error('unexpected');
 * ```
 */
export async function parseCompose(text: string, options: ComposeOptions = {}): Promise<ComposeProject> {
  const fileName = options.fileName ?? 'compose.yaml';
  if (text.length > MAXIMUM_BYTES) {
    const problem = {
      path: '',
      message: `is larger than ${MAXIMUM_BYTES} bytes`,
      line: 1,
      column: 1,
      frame: '',
    };
    throw new ComposeError(fileName, [problem]);
  }
  const files = new FileShelf(options.readFile);
  for (let pass = 1; ; pass += 1) {
    const { project, problems } = parseOnce(text, fileName, options, files);
    if (pass < MAXIMUM_PASSES && (await files.fetch())) continue;
    if (problems.length > 0) throw new ComposeError(fileName, problems);
    return project;
  }
}

function parseOnce(
  text: string,
  fileName: string,
  options: ComposeOptions,
  files: FileShelf,
): { project: ComposeProject; problems: ComposeProblem[] } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true });
  const problems: ComposeProblem[] = document.errors.map((error) => {
    const { line, col } = lines.linePos(error.pos[0]);
    const place = { line: Math.max(1, line), column: Math.max(1, col) };
    return {
      path: '',
      message: `YAML: ${error.message}`,
      ...place,
      frame: codeFrame(text, place.line, place.column),
    };
  });
  const empty: ComposeProject = {
    name: 'default',
    services: [],
    policies: [],
    rules: [],
    volumes: [],
  };
  // What is beneath broken YAML is guesswork; problems found there would only mislead.
  if (problems.length > 0) return { project: empty, problems };
  const aliases = text.match(/(?:^|[\s[{,:])\*[^\s,\]}]+/g)?.length ?? 0;
  const reading: Reading = { text, document, lines, environment: options.environment ?? {}, problems };
  const root = new Cursor(reading, document.contents, '');
  if (aliases > MAXIMUM_ALIASES) root.problem(`has more than ${MAXIMUM_ALIASES} aliases`);
  else if (!root.isMap)
    root.problem('must be a mapping with services', 'write services: { name: { image: ... } }');
  else return { project: readProject(root, fileName, options, files), problems };
  return { project: empty, problems };
}

function readProject(
  root: Cursor,
  fileName: string,
  options: ComposeOptions,
  files: FileShelf,
): ComposeProject {
  const directory = options.fileName === undefined ? undefined : dirname(fileName);
  const pathOf = (path: string): string =>
    directory === undefined || isAbsolute(path) ? path : resolve(directory, path);
  const name = projectName(root, directory);
  const volumes = readVolumeNames(root.get('volumes'), name);
  const networks = readNetworkNames(root.get('networks'));
  const contents = (key: 'configs' | 'secrets'): ReturnType<typeof readContents> => {
    const cursor = root.get(key);
    return cursor === undefined || cursor.empty ? new Map() : readContents(cursor, files, pathOf);
  };
  const scope: ServiceScope = {
    project: name,
    volumes,
    networks,
    configs: contents('configs'),
    secrets: contents('secrets'),
    files,
    pathOf,
  };
  const services: ReadService[] = [];
  let extension: ProjectExtension = { policies: [], trafficRules: [] };
  root.fields(
    {
      // Obsolete in the Compose Specification, which says to ignore it.
      version: () => {},
      name: () => {},
      networks: () => {},
      volumes: () => {},
      configs: () => {},
      secrets: () => {},
      services: (value) => {
        for (const entry of value.entries('a mapping: name to service')) {
          services.push(readService(entry.key, entry.value, entry.at, scope));
        }
      },
      'x-heptad': (value) => {
        extension = readProjectExtension(value);
      },
    },
    UNSUPPORTED_TOP_LEVEL_KEYS,
  );
  if (root.get('services') === undefined)
    root.problem('has no services', 'write services: { name: { image: ... } }');
  checkNames(services);
  checkDependencies(services);
  checkPorts(services);
  return assemble(name, services, extension, [...volumes.values()]);
}

function assemble(
  name: string,
  services: readonly ReadService[],
  extension: ProjectExtension,
  volumes: readonly string[],
): ComposeProject {
  const own = services.flatMap((service) => {
    const policy = service.extension.networkPolicy;
    return policy === undefined
      ? []
      : [{ name: service.name, spec: { ...policy, selector: { service: service.name } } }];
  });
  return {
    name,
    services: services.flatMap(({ name: service, spec, build }) =>
      spec === undefined ? [] : [{ name: service, spec, ...(build === undefined ? {} : { build }) }],
    ),
    policies: [...extension.policies.map((policy) => ({ name: policy.name, spec: policy.spec })), ...own],
    rules: extension.trafficRules.map((rule) => ({ name: rule.name, spec: rule.spec })),
    volumes,
  };
}

function projectName(root: Cursor, directory: string | undefined): string {
  const written = root.get('name');
  const text = written?.text('a name');
  if (text !== undefined) {
    const parsed = resourceName.safeParse(text);
    if (parsed.success) return text;
    written?.problem(`"${text}" ${parsed.error.issues[0]?.message ?? 'is no name'}`);
  }
  const fromDirectory = basename(resolve(directory ?? '/'))
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '');
  return directory === undefined || fromDirectory === '' ? 'default' : fromDirectory;
}

function readVolumeNames(cursor: Cursor | undefined, project: string): Map<string, string> {
  const names = new Map<string, string>();
  if (cursor === undefined || cursor.empty) return names;
  for (const { key, value } of cursor.entries('a mapping: name to volume')) {
    names.set(key, `${project}_${key}`);
    if (value.empty) continue;
    value.fields(
      {
        name: (text) => {
          const name = text.text('a name');
          if (name !== undefined) names.set(key, name);
        },
        driver: (text) => {
          const driver = text.text();
          if (driver !== undefined && driver !== 'local') {
            text.problem(
              `driver "${driver}" is not supported`,
              'volumes are directories of the node (local)',
            );
          }
        },
        labels: () => {},
      },
      { driver_opts: '', external: 'a volume is made when it is first used; set its name' },
    );
  }
  return names;
}

function readNetworkNames(cursor: Cursor | undefined): Set<string> {
  const names = new Set<string>();
  if (cursor === undefined || cursor.empty) return names;
  for (const { key, value } of cursor.entries('a mapping: name to network')) {
    names.add(key);
    if (value.empty) continue;
    value.fields(
      {
        driver: (text) => {
          const driver = text.text();
          if (driver !== undefined && driver !== 'bridge' && driver !== 'overlay') {
            text.problem(`driver "${driver}" is not supported`, 'leave it out');
          }
        },
        name: () => {},
        labels: () => {},
      },
      {
        attachable: '',
        driver_opts: '',
        enable_ipv4: '',
        enable_ipv6: '',
        external: '',
        internal: 'who may talk to whom is said by network policies: x-heptad.policies',
        ipam: 'addresses are chosen by the platform',
      },
    );
  }
  return names;
}
