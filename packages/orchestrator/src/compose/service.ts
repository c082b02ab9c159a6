// One service of a Compose file -> its spec.

import type { ServiceSpec } from '@heptad/core';
import { serviceSpec } from '@heptad/core';
import type { DeclaredContent } from './contents.ts';
import { readMounted } from './contents.ts';
import type { Cursor } from './cursor.ts';
import { type DeployPart, readDeploy, readReplicas, readRestart } from './deploy.ts';
import { readEnvFiles, readKeyValues } from './environment.ts';
import { RUNTIMES, readServiceExtension, type ServiceExtension } from './extension.ts';
import type { FileShelf } from './files.ts';
import { readHealthcheck } from './health.ts';
import { type PlacedPort, readExpose, readPorts } from './ports.ts';
import {
  type PlacedDependency,
  readBuild,
  readCommand,
  readDependencies,
  readNetworks,
} from './service-parts.ts';
import type { ComposeBuild } from './types.ts';
import { UNSUPPORTED_SERVICE_KEYS } from './unsupported.ts';
import { readTmpfs, readVolumes } from './volumes.ts';

/** What services are read against. */
export interface ServiceScope {
  readonly project: string;
  readonly volumes: ReadonlyMap<string, string>;
  readonly networks: ReadonlySet<string>;
  readonly configs: ReadonlyMap<string, DeclaredContent>;
  readonly secrets: ReadonlyMap<string, DeclaredContent>;
  readonly files: FileShelf;
  readonly pathOf: (text: string) => string;
}

/** A service as read; `spec` undefined when something is wrong with it. */
export interface ReadService {
  readonly name: string;
  readonly at: Cursor;
  readonly spec: ServiceSpec | undefined;
  readonly build: ComposeBuild | undefined;
  readonly ports: readonly PlacedPort[];
  readonly dependencies: readonly PlacedDependency[];
  readonly extension: ServiceExtension;
}

/** The parts of a service, filled in key by key. */
interface Parts {
  image: string | undefined;
  build: ComposeBuild | undefined;
  command: string[] | undefined;
  entrypoint: string[] | undefined;
  environment: Record<string, string>;
  envFile: Record<string, string>;
  labels: Record<string, string>;
  ports: PlacedPort[];
  dependencies: PlacedDependency[];
  volumes: ServiceSpec['volumes'];
  files: ServiceSpec['files'];
  networks: string[];
  healthCheck: ServiceSpec['healthCheck'];
  scale: number | undefined;
  extension: ServiceExtension;
  more: Partial<
    Pick<ServiceSpec, 'user' | 'workingDirectory' | 'readOnlyRootfs' | 'stopGraceMs' | 'runtime'>
  >;
}

/** Reads one service. */
export function readService(name: string, cursor: Cursor, at: Cursor, scope: ServiceScope): ReadService {
  const before = cursor.reading.problems.length;
  const deploy: DeployPart = { limits: {}, requests: {} };
  const parts: Parts = {
    image: undefined,
    build: undefined,
    command: undefined,
    entrypoint: undefined,
    environment: {},
    envFile: {},
    labels: {},
    ports: [],
    dependencies: [],
    volumes: [],
    files: [],
    networks: [],
    healthCheck: undefined,
    scale: undefined,
    extension: {},
    more: {},
  };
  cursor.fields(
    {
      ...processFields(parts, scope),
      ...connectionFields(name, parts, scope),
      ...deployFields(parts, deploy),
    },
    UNSUPPORTED_SERVICE_KEYS,
  );
  if (cursor.isMap && cursor.get('image') === undefined && cursor.get('build') === undefined) {
    at.problem('has neither image nor build', 'write image: name:tag, or build: ./directory');
  }
  const clean = cursor.reading.problems.length === before;
  const spec = clean ? assemble(name, parts, deploy, scope, at) : undefined;
  const { build, ports, dependencies, extension } = parts;
  return { name, at, spec, build, ports, dependencies, extension };
}

type Fields = Record<string, (value: Cursor) => void>;

function processFields(parts: Parts, scope: ServiceScope): Fields {
  const setText = (key: 'user' | 'workingDirectory') => (value: Cursor) => {
    const text = value.text();
    if (text !== undefined) parts.more[key] = text;
  };
  return {
    image: (value) => {
      const image = value.empty ? '' : value.text('an image reference');
      if (image !== undefined && image.trim() === '')
        value.problem('must not be empty', 'write image: name:tag');
      parts.image = image;
    },
    build: (value) => {
      parts.build = readBuild(value, scope);
    },
    command: (value) => {
      parts.command = readCommand(value);
    },
    entrypoint: (value) => {
      parts.entrypoint = readCommand(value);
    },
    environment: (value) => {
      if (!value.empty) parts.environment = readKeyValues(value, true);
    },
    env_file: (value) => {
      parts.envFile = readEnvFiles(value, scope.files, scope.pathOf);
    },
    labels: (value) => {
      if (!value.empty) parts.labels = readKeyValues(value, false);
    },
    user: setText('user'),
    working_dir: setText('workingDirectory'),
    read_only: (value) => {
      parts.more.readOnlyRootfs = value.boolean() ?? false;
    },
    stop_grace_period: (value) => {
      const ms = value.duration();
      if (ms !== undefined) parts.more.stopGraceMs = ms;
    },
    runtime: (value) => {
      const runtime = value.choice(RUNTIMES);
      if (runtime !== undefined) parts.more.runtime = runtime;
    },
    healthcheck: (value) => {
      parts.healthCheck = readHealthcheck(value);
    },
  };
}

function connectionFields(name: string, parts: Parts, scope: ServiceScope): Fields {
  const volumeScope = {
    project: scope.project,
    service: name,
    declared: scope.volumes,
    pathOf: scope.pathOf,
  };
  return {
    ports: (value) => void parts.ports.push(...readPorts(value)),
    expose: (value) => void parts.ports.push(...readExpose(value)),
    volumes: (value) => void parts.volumes.push(...readVolumes(value, volumeScope)),
    tmpfs: (value) => void parts.volumes.push(...readTmpfs(value)),
    configs: (value) => void parts.files.push(...readMounted(value, 'config', scope.configs)),
    secrets: (value) => void parts.files.push(...readMounted(value, 'secret', scope.secrets)),
    depends_on: (value) => {
      parts.dependencies = readDependencies(value);
    },
    networks: (value) => {
      parts.networks = readNetworks(value, scope.networks);
    },
  };
}

function deployFields(parts: Parts, deploy: DeployPart): Fields {
  const amount =
    (set: (value: number) => void, read: (value: Cursor) => number | undefined) => (value: Cursor) => {
      const number = read(value);
      if (number !== undefined) set(number);
    };
  return {
    deploy: (value) => readDeploy(value, deploy),
    restart: (value) => readRestart(value, deploy),
    scale: (value) => {
      parts.scale = readReplicas(value);
    },
    cpus: amount(
      (cpu) => Object.assign(deploy.limits, { cpuMillis: cpu }),
      (value) => value.cpu(),
    ),
    mem_limit: amount(
      (bytes) => Object.assign(deploy.limits, { memoryBytes: bytes }),
      (value) => value.bytes(),
    ),
    mem_reservation: amount(
      (bytes) => Object.assign(deploy.requests, { memoryBytes: bytes }),
      (value) => value.bytes(),
    ),
    pids_limit: amount(
      (pids) => Object.assign(deploy.limits, { pids }),
      (value) => value.integer({ min: 1, max: 4_194_304 }, 'a number of processes'),
    ),
    'x-heptad': (value) => {
      parts.extension = readServiceExtension(value, deploy);
    },
  };
}

function assemble(
  name: string,
  parts: Parts,
  deploy: DeployPart,
  scope: ServiceScope,
  at: Cursor,
): ServiceSpec | undefined {
  const { extension } = parts;
  // An exposed port that is also published is one port.
  const published = new Set(
    parts.ports.flatMap(({ port }) => (port.published === undefined ? [] : [port.name])),
  );
  const ports = parts.ports
    .map(({ port }) => port)
    .filter((port) => port.published !== undefined || !published.has(port.name));
  const image = parts.image ?? `${scope.project}-${name}`;
  const parsed = serviceSpec.safeParse({
    image,
    replicas: parts.scale ?? deploy.replicas ?? 1,
    ...(parts.command === undefined ? {} : { command: parts.command }),
    ...(parts.entrypoint === undefined ? {} : { entrypoint: parts.entrypoint }),
    resources: {
      requests: { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0, ...deploy.requests },
      limits: deploy.limits,
    },
    ports,
    environment: { ...parts.envFile, ...parts.environment },
    ...(extension.secretEnvironment === undefined ? {} : { secretEnvironment: extension.secretEnvironment }),
    files: parts.files,
    healthCheck: extension.healthCheck ?? parts.healthCheck,
    dependencies: parts.dependencies.map(({ service, condition }) => ({ service, condition })),
    version: extension.version ?? imageTag(image),
    labels: { ...parts.labels, ...deploy.labels },
    volumes: parts.volumes,
    networks: parts.networks,
    constraints: deploy.constraints ?? [],
    update: deploy.update ?? defaultUpdate(parts),
    restart: deploy.restart ?? {},
    ...parts.more,
    ...(extension.runtime === undefined ? {} : { runtime: extension.runtime }),
    ...(extension.trafficMode === undefined ? {} : { trafficMode: extension.trafficMode }),
    ...(extension.facilities === undefined ? {} : { facilities: extension.facilities }),
  });
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    at.problem(`${issue.path.map(String).join('.')}: ${issue.message}`);
  }
  return undefined;
}

/**
 * Two processes on one data directory corrupt it: a service that writes to a volume and says nothing about updates is
 * replaced stop-first.
 */
function defaultUpdate(parts: Parts): Partial<ServiceSpec['update']> {
  const writes = parts.volumes.some((volume) => volume.type !== 'tmpfs' && !volume.readOnly);
  return writes ? { maxSurge: 0, maxUnavailable: 1 } : {};
}

/** The version traffic rules select by, unless one is given: the image's tag. */
function imageTag(image: string): string {
  const name = image.slice(image.lastIndexOf('/') + 1).split('@')[0] ?? '';
  const colon = name.indexOf(':');
  return colon < 0 ? '1' : name.slice(colon + 1);
}
