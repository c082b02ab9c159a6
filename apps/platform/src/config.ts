// Where the platform keeps its things and which addresses it uses, from flags and environment.

import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { invalidArgument, parseBytes } from '@heptad/core';
import type { CenterFiles } from './centers/settings.ts';

/** Everything that differs between two platforms on one machine. */
export interface PlatformConfig {
  /** Directory that holds all state, images, logs and secrets. */
  readonly home: string;
  /** Address of the API server. */
  readonly host: string;
  readonly port: number;
  /** Port of the OTLP receiver, on `host`. */
  readonly otlpPort: number;
  /** Name of this machine's node. */
  readonly nodeName: string;
  /** `auto` takes containers where they work, else plain processes. */
  readonly runtime: 'auto' | 'oci' | 'process';
  /** Port of the agent's own API (logs, exec, stats) on `host`. */
  readonly agentPort: number;
  readonly storage: { readonly nodes: number; readonly basePort: number; readonly capacityBytes: number };
  /** Where this platform is one of several centres. */
  readonly centers?: CenterFiles;
  readonly network: {
    readonly bridge: string;
    readonly subnet: string;
    readonly gateway: string;
    /** Range of the services' virtual addresses with containers. */
    readonly virtualCidr: string;
    /** The same with plain processes: loopback needs no privilege. */
    readonly loopbackVirtualCidr: string;
  };
}

/** Files and folders below `home`. */
export interface PlatformPaths {
  readonly stateDb: string;
  readonly eventsDb: string;
  readonly security: string;
  readonly monitoring: string;
  readonly engine: string;
  readonly images: string;
  readonly storage: (id: string) => string;
  readonly chaos: string;
  readonly run: string;
  readonly logs: string;
  readonly config: string;
}

/** The layout of `home`; documented in the operating guide. */
export function platformPaths(home: string): PlatformPaths {
  return {
    stateDb: join(home, 'state', 'state.db'),
    eventsDb: join(home, 'events', 'events.db'),
    security: join(home, 'security'),
    monitoring: join(home, 'monitoring'),
    engine: join(home, 'engine'),
    images: join(home, 'engine', 'images'),
    storage: (id) => join(home, 'storage', id),
    chaos: join(home, 'chaos'),
    run: join(home, 'run'),
    logs: join(home, 'logs'),
    config: join(home, 'run', 'platform.json'),
  };
}

/** `HEPTAD_HOME`, else /var/lib/heptad as root, else $XDG_DATA_HOME/heptad. */
export function defaultHome(environment: NodeJS.ProcessEnv = process.env): string {
  if (environment.HEPTAD_HOME) return environment.HEPTAD_HOME;
  if (process.getuid?.() === 0) return '/var/lib/heptad';
  return join(environment.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'heptad');
}

const MAX_PORT = 65_535;
/** Storage nodes on one machine; more on the same disks make nothing safer. */
const MAX_STORAGE_NODES = 64;
const STORAGE_NODES = 3;
const STORAGE_CAPACITY_BYTES = 10 * 1024 ** 3;

function port(environment: NodeJS.ProcessEnv, name: string, fallback: number): number {
  const text = environment[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > MAX_PORT) {
    throw invalidArgument(
      `environment variable ${name} is "${text}", which is no port`,
      'give a whole number from 1 to 65535',
    );
  }
  return value;
}

function bytes(environment: NodeJS.ProcessEnv, name: string, fallback: number): number {
  const text = environment[name];
  return text === undefined || text === '' ? fallback : parseBytes(text);
}

function count(environment: NodeJS.ProcessEnv, name: string, fallback: number): number {
  const text = environment[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= MAX_STORAGE_NODES) return value;
  throw invalidArgument(
    `environment variable ${name} is "${text}"`,
    `give a whole number from 1 to ${MAX_STORAGE_NODES}`,
  );
}

/** Several ports follow from one: all of them must exist. */
function requirePorts(name: string, last: number): void {
  if (last <= MAX_PORT) return;
  throw invalidArgument(
    `environment variable ${name} leaves no room: port ${last} would be needed as well`,
    `give a smaller one; the last port is ${MAX_PORT}`,
  );
}

function centerFiles(environment: NodeJS.ProcessEnv): CenterFiles | undefined {
  const { HEPTAD_CENTERS: given, HEPTAD_CENTER: self, HEPTAD_CENTERS_SECRET_FILE: secretFile } = environment;
  if (!given && !self) return undefined;
  if (!given || !self)
    throw invalidArgument(
      `environment variable ${given ? 'HEPTAD_CENTER' : 'HEPTAD_CENTERS'} is not set, but ${given ? 'HEPTAD_CENTERS' : 'HEPTAD_CENTER'} is`,
      'HEPTAD_CENTERS names the file that lists all centres, HEPTAD_CENTER which of them this is',
    );
  const file = resolve(given);
  return { file, self, secretFile: resolve(secretFile || join(dirname(file), 'centers.secret')) };
}

function runtimeChoice(text: string | undefined): PlatformConfig['runtime'] {
  if (text === undefined || text === '') return 'auto';
  if (text === 'auto' || text === 'oci' || text === 'process') return text;
  throw invalidArgument(`runtime "${text}" is not known`, 'use auto, oci or process');
}

/**
 * The configuration the environment describes.
 *
 * @throws HeptadError `INVALID_ARGUMENT` naming the variable that makes no sense.
 */
export function configFromEnvironment(environment: NodeJS.ProcessEnv = process.env): PlatformConfig {
  const base = port(environment, 'HEPTAD_PORT', 7070);
  const agentPort = port(environment, 'HEPTAD_AGENT_PORT', base + 1);
  const storage = {
    nodes: count(environment, 'HEPTAD_STORAGE_NODE_COUNT', STORAGE_NODES),
    basePort: port(environment, 'HEPTAD_STORAGE_PORT', base + 11),
    capacityBytes: bytes(environment, 'HEPTAD_STORAGE_CAPACITY', STORAGE_CAPACITY_BYTES),
  };
  requirePorts(environment.HEPTAD_AGENT_PORT ? 'HEPTAD_AGENT_PORT' : 'HEPTAD_PORT', agentPort);
  requirePorts(
    environment.HEPTAD_STORAGE_PORT ? 'HEPTAD_STORAGE_PORT' : 'HEPTAD_PORT',
    storage.basePort + storage.nodes - 1,
  );
  const centers = centerFiles(environment);
  return {
    home: defaultHome(environment),
    host: environment.HEPTAD_HOST || '127.0.0.1',
    port: base,
    otlpPort: port(environment, 'HEPTAD_OTLP_PORT', 4318),
    agentPort,
    nodeName: environment.HEPTAD_NODE || (centers === undefined ? 'node-1' : `${centers.self}-1`),
    ...(centers === undefined ? {} : { centers }),
    runtime: runtimeChoice(environment.HEPTAD_RUNTIME),
    storage,
    network: {
      bridge: environment.HEPTAD_BRIDGE || 'heptad0',
      subnet: environment.HEPTAD_SUBNET || '10.87.0.0/16',
      gateway: environment.HEPTAD_GATEWAY || '10.87.0.1',
      virtualCidr: environment.HEPTAD_VIRTUAL_CIDR || '10.88.0.0/16',
      loopbackVirtualCidr: environment.HEPTAD_LOOPBACK_CIDR || '127.88.0.0/16',
    },
  };
}

/** The environment that makes a child process of the platform see the same configuration. */
export function environmentOf(config: PlatformConfig): Record<string, string> {
  return {
    HEPTAD_HOME: config.home,
    HEPTAD_HOST: config.host,
    HEPTAD_PORT: String(config.port),
    HEPTAD_OTLP_PORT: String(config.otlpPort),
    HEPTAD_AGENT_PORT: String(config.agentPort),
    HEPTAD_NODE: config.nodeName,
    HEPTAD_RUNTIME: config.runtime,
    ...(config.centers === undefined
      ? {}
      : {
          HEPTAD_CENTERS: config.centers.file,
          HEPTAD_CENTER: config.centers.self,
          HEPTAD_CENTERS_SECRET_FILE: config.centers.secretFile,
        }),
    HEPTAD_STORAGE_PORT: String(config.storage.basePort),
    HEPTAD_STORAGE_NODE_COUNT: String(config.storage.nodes),
    HEPTAD_STORAGE_CAPACITY: String(config.storage.capacityBytes),
    HEPTAD_BRIDGE: config.network.bridge,
    HEPTAD_SUBNET: config.network.subnet,
    HEPTAD_GATEWAY: config.network.gateway,
    HEPTAD_VIRTUAL_CIDR: config.network.virtualCidr,
    HEPTAD_LOOPBACK_CIDR: config.network.loopbackVirtualCidr,
  };
}
