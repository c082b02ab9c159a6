// The Docker-compatible API server: node:http, a router, and hijacked connections, on a Unix socket or on TCP with TLS.

import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock, Random } from '@heptad/core';
import { systemClock, systemRandom } from '@heptad/core';
import { compareApiVersions } from '../docker/version.ts';
import { ContainerError } from '../errors.ts';
import type { RegistryClientOptions } from '../registry/registry-client.ts';
import { removeTree } from '../system/files.ts';
import { AutoRemoval } from './auto-removal.ts';
import { contextsOf } from './build-context.ts';
import { ApiCall } from './call.ts';
import type { ApiContext, ServedEngine } from './context.ts';
import { ApiEvents } from './events.ts';
import { ExecRegistry } from './exec-registry.ts';
import { ImageIndex } from './image-index.ts';
import { type BoundSocket, bindTcp, bindUnixSocket, type TlsIdentity } from './listen.ts';
import { ApiNetworks } from './networks.ts';
import { Router, splitVersion } from './router.ts';
import { ROUTES } from './routes.ts';
import { SettingsStore } from './settings.ts';
import { API_VERSION, MIN_API_VERSION } from './versions.ts';
import { VolumeStore } from './volumes.ts';

/** Options of {@link DockerApiServer.start}. */
export interface DockerApiServerOptions {
  /** The engine to serve; a {@link ContainerEngine} is one. The server uses it and does not close it. */
  readonly engine: ServedEngine;
  /** Path of the Unix socket to listen on. A socket that nobody listens on any more is replaced. */
  readonly socketPath?: string;
  /** Group that may use the socket beside its owner; it then has mode 0660 instead of 0600. */
  readonly group?: string;
  /**
   * Listen on TCP, too. Whoever may talk to this API is root on this machine, so there is no way to do it without
   * certificates on both sides.
   */
  readonly tcp?: { readonly host: string; readonly port: number; readonly tls: TlsIdentity };
  /** How images are pulled and pushed. */
  readonly registry?: RegistryClientOptions;
  readonly clock?: Clock;
  readonly random?: Random;
}

// A client may look at a container for days; only the time to send a request's headers is bounded.
const HEADERS_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_MS = 60_000;

/**
 * Speaks the Docker Engine API 1.41 for an engine, so that `docker`, Compose, dockerode and testcontainers work on it.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm } from 'node:fs/promises';
 * import { request } from 'node:http';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { ContainerEngine } from '@heptad/container';
 * import { DockerApiServer } from '@heptad/container/docker-api';
 *
 * const home = await mkdtemp(join(tmpdir(), 'engine-'));
 * const engine = await ContainerEngine.open({ home, network: 'none' });
 * const socketPath = join(home, 'docker.sock');
 * const server = await DockerApiServer.start({ engine, socketPath });
 * const version = await new Promise((resolve) => {
 *   request({ socketPath, path: '/_ping' }, (answer) => resolve(answer.headers['api-version'])).end();
 * });
 * console.log(version); // 1.41
 * await server.close();
 * await engine.close();
 * await rm(home, { recursive: true });
 * ```
 */
export class DockerApiServer implements AsyncDisposable {
  private readonly context: ApiContext;
  private readonly router: Router = new Router(ROUTES);
  private readonly closing = new AbortController();
  private readonly bound: BoundSocket[] = [];
  private readonly connections = new Set<Socket>();
  private readonly background: Promise<void>[] = [];

  private constructor(context: ApiContext) {
    this.context = context;
  }

  /**
   * Begins to listen. Throws `INVALID_ARGUMENT` (no address, unknown group, TCP without certificates), `HOME_IN_USE`
   * when somebody listens on the socket, `PATH_NOT_FOUND`, `ACCESS_DENIED`.
   */
  static async start(options: DockerApiServerOptions): Promise<DockerApiServer> {
    const { socketPath, tcp } = options;
    if (socketPath === undefined && tcp === undefined) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        'cannot serve the Docker API: no socket and no address was given',
      );
    }
    const server = new DockerApiServer(await contextOf(options));
    try {
      await server.watchContainers();
      if (socketPath !== undefined) {
        const http = createServer(serverOptions);
        server.serve(http);
        server.bound.push(await bindUnixSocket(http, socketPath, options.group));
      }
      if (tcp !== undefined) {
        const https = createTlsServer({ ...serverOptions, ...tlsOptions(tcp.tls) });
        server.serve(https);
        server.bound.push(await bindTcp(https, tcp.host, tcp.port));
      }
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** The addresses it listens on: `unix:///path`, `tcp://host:port`. */
  get addresses(): string[] {
    return this.bound.map(({ address }) => address);
  }

  /** Ends all connections. Containers run on. */
  async close(): Promise<void> {
    this.closing.abort();
    const closed = this.bound.map((bound) => bound.close());
    for (const connection of this.connections) connection.destroy();
    await Promise.all(closed);
    await Promise.all(this.background);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async watchContainers(): Promise<void> {
    const { runtime, settings, events } = this.context;
    const removal = new AutoRemoval(this.context);
    const { signal } = this.closing;
    const imageOf = (event: { id: string; name: string }): string => settings.imageOf(event.id, event.name);
    this.background.push(
      events.copy(runtime, imageOf, (event) => removal.hear(event), signal).catch(() => undefined),
    );
    await removal.sweep();
  }

  private serve(http: Server): void {
    http.on('connection', (socket: Socket) => {
      this.connections.add(socket);
      socket.once('close', () => this.connections.delete(socket));
    });
    http.on('secureConnection', (socket: Socket) => {
      this.connections.add(socket);
      socket.once('close', () => this.connections.delete(socket));
    });
    http.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.answer(request, response, undefined).catch(() => response.destroy());
    });
    http.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
      // Of a server that listens on sockets, the stream is one.
      const socket = stream as Socket;
      socket.on('error', () => undefined);
      const response = new ServerResponse(request);
      response.assignSocket(socket);
      // Without `Connection: close`: clients look at the status of a failed upgrade only when it is not there.
      response.once('finish', () => socket.end());
      this.answer(request, response, { socket, head }).catch(() => socket.destroy());
    });
  }

  private async answer(
    request: IncomingMessage,
    response: ServerResponse,
    upgrade: { readonly socket: Socket; readonly head: Buffer } | undefined,
  ): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://docker');
    const { version, rest } = splitVersion(url.pathname);
    const match = this.router.match(request.method ?? 'GET', rest);
    const parameters = match?.parameters ?? {};
    const parts = { request, response, parameters, query: url.searchParams };
    const call = new ApiCall(upgrade === undefined ? parts : { ...parts, upgrade });
    response.setHeader('Api-Version', API_VERSION);
    response.setHeader('Ostype', 'linux');
    response.setHeader('Docker-Experimental', 'false');
    response.setHeader('Server', 'heptad');
    response.on('error', () => undefined);
    request.on('error', () => undefined);
    try {
      requireVersion(version);
      if (match === undefined) throw noRoute(request.method ?? 'GET', rest);
      if (match.route.handler === undefined) throw notSupported(match.route.summary, match.route.note);
      await this.context.networks.refresh();
      await match.route.handler(this.context, call);
    } catch (error) {
      call.fail(error);
    }
  }
}

const serverOptions = {
  requestTimeout: 0,
  headersTimeout: HEADERS_TIMEOUT_MS,
  keepAliveTimeout: KEEP_ALIVE_MS,
  // Only what may become a raw stream is taken out of HTTP; BuildKit's h2c is answered as the plain request it also is.
  shouldUpgradeCallback: (request: IncomingMessage): boolean =>
    /^tcp$/i.test(String(request.headers.upgrade ?? '')) && request.method === 'POST',
};

function tlsOptions(tls: TlsIdentity): Record<string, unknown> {
  return { ...tls, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2' };
}

async function contextOf(options: DockerApiServerOptions): Promise<ApiContext> {
  const { engine } = options;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? systemRandom;
  const startedAt = clock.now();
  await removeTree(contextsOf(engine.home));
  return {
    engine,
    runtime: engine.runtime,
    images: new ImageIndex(engine.images),
    settings: await SettingsStore.open(engine.home),
    volumes: await VolumeStore.open(engine.home, clock, random),
    networks: new ApiNetworks(engine.networks, startedAt),
    execs: new ExecRegistry(random),
    events: new ApiEvents(),
    registry: options.registry ?? {},
    clock,
    random,
    startedAt,
  };
}

function requireVersion(version: string | undefined): void {
  if (version === undefined) return;
  const range = compareApiVersions(version, API_VERSION) > 0 ? 'too new' : 'too old';
  if (range === 'too old' && compareApiVersions(version, MIN_API_VERSION) >= 0) return;
  const bound =
    range === 'too new'
      ? `Maximum supported API version is ${API_VERSION}`
      : `Minimum supported API version is ${MIN_API_VERSION}`;
  // In these words clients recognise it, and ask again in a version that fits.
  throw new ContainerError('INVALID_ARGUMENT', `client version ${version} is ${range}. ${bound}`);
}

function noRoute(method: string, path: string): Error {
  return new ContainerError('ROUTE_NOT_FOUND', `page not found: ${method} ${path}`);
}

function notSupported(summary: string, note: string | undefined): Error {
  return new ContainerError(
    'NOT_SUPPORTED',
    `heptad does not support this: ${summary}${note ? `; ${note}` : ''}`,
  );
}
