// MicroservicePlatform: a whole platform as one object: deploy a service, call it, store data, read it back.

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildNodeImage, ImageStore } from '@heptad/container';
import {
  type ConsistencyLevel,
  type ObjectInfo,
  parseBytes,
  parseCpu,
  type ServiceResource,
  systemRandom,
} from '@heptad/core';
import { ApiClient } from './client/api-client.ts';
import { configFromEnvironment, type PlatformConfig, platformPaths } from './config.ts';
import { waitReady } from './deploy/apply.ts';
import { LocalPlatform } from './platform.ts';

/** How to start a platform of one's own. */
export interface MicroservicePlatformOptions {
  /** Where it keeps everything. Default: a temporary directory that is removed at the end. */
  readonly home?: string;
  /** Other settings. Default: those of the environment, with free ports. */
  readonly config?: Partial<PlatformConfig>;
  /** Hears what takes time. */
  readonly onProgress?: (message: string) => void;
}

/** A service to deploy. */
export interface DeployMicroserviceOptions {
  readonly name: string;
  /** A built Node app: its image is made from `directory` and `main`. Or give `image`. */
  readonly directory?: string;
  /** Script to run, relative to `directory`. Default `index.js`. */
  readonly main?: string;
  /** An image that this machine has. */
  readonly image?: string;
  /** Default 1. */
  readonly replicas?: number;
  /** Port it listens on (env PORT says the same). Default 8080. */
  readonly port?: number;
  readonly environment?: Readonly<Record<string, string>>;
  /** Limits: `0.5` cores, `128m` bytes. */
  readonly cpus?: string | number;
  readonly memory?: string | number;
  /** GET on this path tells that it works. Default: a TCP connection does. */
  readonly healthPath?: string;
  /** Give up waiting for it after this long. Default 60 s. */
  readonly timeoutMs?: number;
}

/** What a call answered. */
export interface ServiceAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const DEFAULT_PORT = 8080;
const DEFAULT_TIMEOUT_MS = 60_000;
/** Server, OTLP, agent and storage nodes lie in one row of this many ports. */
const PORT_ROW = 16;

async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

/** Below the ports that Linux gives to outgoing connections, so that none of them takes one of ours meanwhile. */
const FIRST_PORT = 20_000;
const PORT_SPAN = 11_000;

/** The first of {@link PORT_ROW} free ports in a row. */
async function freeRow(): Promise<number> {
  for (;;) {
    const first = FIRST_PORT + systemRandom.integer(PORT_SPAN);
    const row = await Promise.all(Array.from({ length: PORT_ROW }, (_, index) => isFree(first + index)));
    if (row.every(Boolean)) return first;
  }
}

/** A bridge and ranges of its own, told apart by the port row, so that platforms on one machine do not meet. */
function ownNetwork(first: number): PlatformConfig['network'] {
  const second = 128 + (first % 112);
  const third = (first >> 3) % 8;
  return {
    bridge: `hp${first}`,
    subnet: `10.${second}.${third * 16}.0/20`,
    gateway: `10.${second}.${third * 16}.1`,
    virtualCidr: `10.${second}.${128 + third * 16}.0/20`,
    loopbackVirtualCidr: `127.${second}.${third * 16}.0/20`,
  };
}

/**
 * A platform of one's own on this machine, or a client of one that runs.
 *
 * @example
 * ```ts
 * import { MicroservicePlatform } from '@heptad/platform';
 *
 * export async function hello(directory: string): Promise<string> {
 *   await using platform = await MicroservicePlatform.start();
 *   await platform.deployMicroservice({ name: 'hello', directory, main: 'index.js', replicas: 2 });
 *   return (await platform.serviceCall('hello', '/')).body;
 * }
 * ```
 */
export class MicroservicePlatform implements AsyncDisposable {
  readonly client: ApiClient;
  readonly #local: LocalPlatform | undefined;
  readonly #temporary: string | undefined;

  private constructor(client: ApiClient, local: LocalPlatform | undefined, temporary: string | undefined) {
    this.client = client;
    this.#local = local;
    this.#temporary = temporary;
  }

  /** Starts one: server, agent, proxy and three storage nodes. Errors: those of {@link LocalPlatform.start}. */
  static async start(options: MicroservicePlatformOptions = {}): Promise<MicroservicePlatform> {
    const temporary = options.home === undefined ? await mkdtemp(join(tmpdir(), 'heptad-')) : undefined;
    const base = configFromEnvironment();
    const first = await freeRow();
    const config: PlatformConfig = {
      ...base,
      home: options.home ?? temporary ?? base.home,
      port: first,
      otlpPort: first + 1,
      agentPort: first + 2,
      storage: { ...base.storage, basePort: first + 3 },
      network: ownNetwork(first),
      ...options.config,
    };
    try {
      const local = await LocalPlatform.start(config, options.onProgress);
      return new MicroservicePlatform(local.client, local, temporary);
    } catch (error) {
      if (temporary !== undefined) await rm(temporary, { recursive: true, force: true });
      throw error;
    }
  }

  /** A client of a platform that runs elsewhere. Images can only be built where it runs. */
  static connect(options: { server: string; token: string }): MicroservicePlatform {
    return new MicroservicePlatform(new ApiClient(options), undefined, undefined);
  }

  /** Deploys a service and waits until all its replicas are ready. Errors: `TIMEOUT`, `ROLLOUT_FAILED`, those of images. */
  async deployMicroservice(options: DeployMicroserviceOptions): Promise<ServiceResource> {
    const { name, replicas = 1, port = DEFAULT_PORT, healthPath, cpus, memory } = options;
    const image = options.image ?? (await this.#build(options));
    const probe = { intervalMs: 1_000, timeoutMs: 1_000, startIntervalMs: 100, startPeriodMs: 30_000 };
    await this.client.json('PUT', `/api/v1/services/${name}`, {
      spec: {
        image,
        replicas,
        resources: {
          requests: { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 },
          limits: {
            ...(cpus === undefined ? {} : { cpuMillis: parseCpu(cpus) }),
            ...(memory === undefined ? {} : { memoryBytes: parseBytes(memory) }),
          },
        },
        ports: [{ name: 'http', port }],
        environment: { PORT: String(port), ...options.environment },
        healthCheck:
          healthPath === undefined
            ? { tcp: { port }, ...probe }
            : { http: { path: healthPath, port }, ...probe },
        dependencies: [],
        labels: {},
        volumes: [],
      },
    });
    await waitReady(this.client, [name], { timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS });
    return this.client.json('GET', `/api/v1/services/${name}`);
  }

  async #build({ name, directory, main = 'index.js' }: DeployMicroserviceOptions): Promise<string> {
    const home = this.#local?.config.home ?? configFromEnvironment().home;
    const images = await ImageStore.open({ home: platformPaths(home).images });
    const { digest } = await buildNodeImage({ images, name, directory: directory ?? '.', main });
    return `${name}@${digest}`;
  }

  /** Calls a service through the mesh: discovery, balancing, retries and policies apply. */
  async serviceCall(
    service: string,
    path: string,
    options: { method?: string; headers?: Record<string, string>; body?: string } = {},
  ): Promise<ServiceAnswer> {
    return this.client.json('POST', '/api/v1/mesh/call', { service, path, ...options });
  }

  /** Stores an object; resolves when a quorum of storage nodes has it on disk. */
  async storeData(
    bucket: string,
    key: string,
    body: string | Uint8Array,
    options: { consistency?: ConsistencyLevel } = {},
  ): Promise<ObjectInfo> {
    const response = await this.client.raw('PUT', objectPath(bucket, key), {
      body,
      headers: { 'content-type': 'application/octet-stream', ...consistencyHeader(options.consistency) },
    });
    return (await response.body.json()) as ObjectInfo;
  }

  /** Reads an object. `OBJECT_NOT_FOUND`. */
  async readData(
    bucket: string,
    key: string,
    options: { consistency?: ConsistencyLevel } = {},
  ): Promise<Uint8Array> {
    const response = await this.client.raw('GET', objectPath(bucket, key), {
      headers: consistencyHeader(options.consistency),
    });
    return new Uint8Array(await response.body.arrayBuffer());
  }

  /** Stops it and removes what it made; a temporary home goes as well. A client only lets go. */
  async close(): Promise<void> {
    try {
      await this.#local?.stop();
    } finally {
      if (this.#temporary !== undefined) await rm(this.#temporary, { recursive: true, force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function objectPath(bucket: string, key: string): string {
  return `/api/v1/storage/${encodeURIComponent(bucket)}/${key.split('/').map(encodeURIComponent).join('/')}`;
}

function consistencyHeader(level: ConsistencyLevel | undefined): Record<string, string> {
  return level === undefined ? {} : { 'x-heptad-consistency': level };
}
