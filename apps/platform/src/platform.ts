// A whole platform on this machine: starts server and agent, waits until they are ready, stops and removes everything.

import { mkdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { formatBytes, HeptadError, type NodeResource, systemClock } from '@heptad/core';
import { openEngine } from './agent/clean-machine.ts';
import { ApiClient } from './client/api-client.ts';
import { type PlatformConfig, platformPaths } from './config.ts';
import type { Standing } from './server/standby-server.ts';
import { keeperOf, partNames } from './supervise/platform-processes.ts';
import { identify, readPidFile, removePidFile, writePidFile } from './supervise/process-identity.ts';
import { endProcess, type ProcessKeeper } from './supervise/process-keeper.ts';

/** What the first start of a platform shows once. */
export interface FirstAdmin {
  readonly username: string;
  readonly password: string;
}

/** The server answers within this, even on a slow disk with a long history to open. */
const SERVER_READY_MS = 30_000;
/** The agent probes runtimes by running containers; storage and proxy start meanwhile. */
const NODE_READY_MS = 60_000;
/** Centres that are all there elect within some seconds; one that waits for others longer than this starts as a standby. */
const STANDING_MS = 12_000;
const POLL_MS = 100;
/** The agent stops and removes all containers in this time when everything goes down. */
const AGENT_STOP_MS = 60_000;
const SERVER_STOP_MS = 10_000;

async function portIsFree(host: string, port: number): Promise<boolean> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once('error', () => resolve(false));
    probe.listen(port, host, () => probe.close(() => resolve(true)));
  });
}

/** A running one-machine platform. */
export class LocalPlatform implements AsyncDisposable {
  readonly config: PlatformConfig;
  readonly client: ApiClient;
  /** Set where another centre serves, or none yet: services are deployed there, and this one stands by. */
  readonly standing: Standing | undefined;
  readonly #keepers: readonly ProcessKeeper[];

  private constructor(
    config: PlatformConfig,
    client: ApiClient,
    standing: Standing | undefined,
    keepers: readonly ProcessKeeper[],
  ) {
    this.config = config;
    this.client = client;
    this.standing = standing;
    this.#keepers = keepers;
  }

  /**
   * Starts all processes and waits until the node is ready to run services.
   *
   * @throws HeptadError `ALREADY_RUNNING`; `PORT_IN_USE`; `START_FAILED` with the end of the log of what did not start.
   */
  static async start(
    wanted: PlatformConfig,
    onProgress: (message: string) => void = () => {},
  ): Promise<LocalPlatform> {
    const paths = platformPaths(wanted.home);
    await mkdir(paths.run, { recursive: true, mode: 0o700 });
    await claim(wanted);
    try {
      return await LocalPlatform.#startClaimed(wanted, onProgress);
    } catch (error) {
      await removePidFile(join(paths.run, 'up.pid'));
      throw error;
    }
  }

  static async #startClaimed(
    wanted: PlatformConfig,
    onProgress: (message: string) => void,
  ): Promise<LocalPlatform> {
    const paths = platformPaths(wanted.home);
    await clearStale(wanted, onProgress);
    await requireSpace(wanted.home);
    const config = await resolveRuntime(wanted, onProgress);
    for (const port of [config.port, config.otlpPort, config.agentPort]) {
      if (await portIsFree(config.host, port)) continue;
      throw new HeptadError(
        'PORT_IN_USE',
        `cannot start: ${config.host}:${port} is used by another program`,
        {
          hint: `find it with: ss -ltnp 'sport = :${port}'; or choose another with HEPTAD_PORT / HEPTAD_OTLP_PORT / HEPTAD_AGENT_PORT`,
        },
      );
    }
    await writeFile(paths.config, JSON.stringify(config));
    const started: ProcessKeeper[] = [];
    try {
      onProgress('starting the server…');
      const server = keeperOf(config, 'server', ['server'], {}, onProgress);
      started.push(server);
      await server.start();
      const standing =
        config.centers === undefined ? undefined : await waitForStanding(config, server, onProgress);
      const client = standing === undefined ? await waitForServer(config, server) : await localClient(config);
      onProgress('starting the agent, its proxy and storage nodes…');
      const agent = keeperOf(config, 'agent', ['agent'], { HEPTAD_AGENT_CLEANUP: '1' }, onProgress);
      started.push(agent);
      await agent.start();
      if (standing === undefined) await waitForNode(config, client, agent);
      else await waitForAgent(config, agent);
      return new LocalPlatform(config, client, standing, started);
    } catch (error) {
      for (const keeper of started.reverse()) await keeper.stop({ graceMs: AGENT_STOP_MS }).catch(() => {});
      throw error;
    }
  }

  /** Stops everything and removes what it made on this machine; the data below `home` stays. */
  async stop(onProgress: (message: string) => void = () => {}): Promise<void> {
    const [server, agent] = this.#keepers;
    onProgress('stopping services, proxy and storage nodes…');
    try {
      await agent?.stop({ graceMs: AGENT_STOP_MS });
    } finally {
      onProgress('stopping the server…');
      await server?.stop({ graceMs: SERVER_STOP_MS });
    }
    await removePidFile(join(platformPaths(this.config.home).run, 'up.pid'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/**
 * Decides once which runtime all processes use: with containers virtual addresses are on the node's bridge, with plain
 * processes on loopback, and server, agent and proxy must agree.
 */
async function resolveRuntime(
  config: PlatformConfig,
  onProgress: (message: string) => void,
): Promise<PlatformConfig> {
  if (config.runtime !== 'auto') return withAddresses(config, config.runtime);
  const probe = await probeRuntimes(config);
  if (probe.runtime === 'process') {
    onProgress('services will run as plain processes, without isolation:');
    for (const reason of probe.reasons) onProgress(`  ${reason}`);
  }
  return withAddresses(config, probe.runtime);
}

async function probeRuntimes(
  config: PlatformConfig,
): Promise<{ runtime: 'oci' | 'process'; reasons: readonly string[] }> {
  await using engine = await openEngine(config);
  const { runtime, reasons } = await engine.probe();
  return { runtime: runtime === 'process' ? 'process' : 'oci', reasons };
}

function withAddresses(config: PlatformConfig, runtime: 'oci' | 'process'): PlatformConfig {
  if (runtime === 'oci') return { ...config, runtime };
  return {
    ...config,
    runtime,
    network: { ...config.network, virtualCidr: config.network.loopbackVirtualCidr },
  };
}

/** State, images and logs of the first minutes need about this much; less would fail in the middle of something. */
const MIN_FREE_BYTES = 256 * 1024 * 1024;

async function requireSpace(home: string): Promise<void> {
  const { bavail, bsize } = await statfs(home);
  const free = bavail * bsize;
  if (free >= MIN_FREE_BYTES) return;
  throw new HeptadError(
    'INSUFFICIENT_SPACE',
    `cannot start: only ${formatBytes(free)} of disk space are free in ${home}, and the platform needs ${formatBytes(MIN_FREE_BYTES)}`,
    { hint: 'free some space, or keep the platform on another disk with HEPTAD_HOME' },
  );
}

/** Only one `up` may drive a home. */
async function claim(config: PlatformConfig): Promise<void> {
  const path = join(platformPaths(config.home).run, 'up.pid');
  const other = await readPidFile(path);
  if (other !== undefined && other.pid !== process.pid) {
    throw new HeptadError(
      'ALREADY_RUNNING',
      `a platform is already running with ${config.home} (pid ${other.pid})`,
      {
        hint: 'stop it with "heptad down", or use another HEPTAD_HOME and HEPTAD_PORT',
      },
    );
  }
  const self = identify(process.pid);
  if (self !== undefined) await writePidFile(path, self);
}

/**
 * Server and agent of an `up` that was killed: they are made to die and be started anew, so that they run our code
 * and answer to us. Containers, proxy and storage nodes go on meanwhile and are adopted.
 */
async function clearStale(config: PlatformConfig, onProgress: (message: string) => void): Promise<void> {
  for (const name of ['agent', 'server']) {
    const stale = await readPidFile(join(platformPaths(config.home).run, `${name}.pid`));
    if (stale === undefined) continue;
    onProgress(`taking over from an earlier ${name} (pid ${stale.pid})`);
    try {
      process.kill(stale.pid, 'SIGKILL');
    } catch {
      // It ended meanwhile, or is not ours to end: endProcess tells the two apart.
    }
    await endProcess(stale, name, 0);
  }
}

async function tailOf(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-8).join('\n');
}

async function failedStart(config: PlatformConfig, name: string, what: string): Promise<HeptadError> {
  const log = join(platformPaths(config.home).logs, `${name}.log`);
  return new HeptadError('START_FAILED', `${what}. The end of ${log}:\n${await tailOf(log)}`);
}

async function localToken(config: PlatformConfig): Promise<string | undefined> {
  return (
    await readFile(join(platformPaths(config.home).run, 'admin.token'), 'utf8').catch(() => undefined)
  )?.trim();
}

async function waitForServer(config: PlatformConfig, server: ProcessKeeper): Promise<ApiClient> {
  const url = `http://${config.host}:${config.port}`;
  const deadline = systemClock.monotonicMs() + SERVER_READY_MS;
  for (;;) {
    const token = await localToken(config);
    if (token !== undefined) {
      const client = new ApiClient({ server: url, token });
      const ready = await client.raw('GET', '/readyz').then(
        (response) => response.body.dump().then(() => true),
        () => false,
      );
      if (ready) return client;
    }
    // A server that refuses to start (corrupt state, say) ends at once: its reason matters more than the deadline.
    if (server.restarts > 0)
      throw await failedStart(config, 'server', 'the server ended instead of starting');
    if (systemClock.monotonicMs() > deadline)
      throw await failedStart(config, 'server', `the server was not ready after ${SERVER_READY_MS / 1000} s`);
    await systemClock.sleep(POLL_MS);
  }
}

/** A client of this machine's server, as its administrator. */
export async function localClient(config: PlatformConfig): Promise<ApiClient> {
  const token = await localToken(config);
  return new ApiClient({
    server: `http://${config.host}:${config.port}`,
    ...(token === undefined ? {} : { token }),
  });
}

/** Waits until this centre is primary (undefined), or follows one, or it is clear that it waits for others. */
async function waitForStanding(
  config: PlatformConfig,
  server: ProcessKeeper,
  onProgress: (message: string) => void,
): Promise<Standing | undefined> {
  const client = new ApiClient({ server: `http://${config.host}:${config.port}` });
  const begunMs = systemClock.monotonicMs();
  let standing: Standing | undefined;
  let told = '';
  for (;;) {
    standing = await client.json<Standing>('GET', '/healthz').catch(() => undefined);
    if (standing?.role === 'primary') return undefined;
    if (standing?.primary !== undefined && standing.primary !== config.centers?.self) return standing;
    if (standing !== undefined && standing.message !== told) onProgress(`  ${standing.message}`);
    told = standing?.message ?? told;
    if (server.restarts > 0)
      throw await failedStart(config, 'server', 'the server ended instead of starting');
    const waitedMs = systemClock.monotonicMs() - begunMs;
    if (standing !== undefined && waitedMs > STANDING_MS) return standing;
    if (waitedMs > SERVER_READY_MS)
      throw await failedStart(config, 'server', `the server was not ready after ${SERVER_READY_MS / 1000} s`);
    await systemClock.sleep(POLL_MS);
  }
}

async function waitForAgent(config: PlatformConfig, agent: ProcessKeeper): Promise<void> {
  const deadline = systemClock.monotonicMs() + NODE_READY_MS;
  while (!(await agentAnswers(config))) {
    if (agent.restarts > 0) throw await failedStart(config, 'agent', 'the agent ended instead of starting');
    if (systemClock.monotonicMs() > deadline)
      throw await failedStart(config, 'agent', `the agent was not ready after ${NODE_READY_MS / 1000} s`);
    await systemClock.sleep(POLL_MS);
  }
}

async function waitForNode(config: PlatformConfig, client: ApiClient, agent: ProcessKeeper): Promise<void> {
  const deadline = systemClock.monotonicMs() + NODE_READY_MS;
  for (;;) {
    const node = await client
      .json<NodeResource>('GET', `/api/v1/nodes/${config.nodeName}`)
      .catch(() => undefined);
    if (node?.status.status === 'Ready' && agent.pid !== undefined && (await agentAnswers(config))) return;
    if (agent.restarts > 0) throw await failedStart(config, 'agent', 'the agent ended instead of starting');
    if (systemClock.monotonicMs() > deadline)
      throw await failedStart(
        config,
        'agent',
        `node ${config.nodeName} was not ready after ${NODE_READY_MS / 1000} s`,
      );
    await systemClock.sleep(POLL_MS);
  }
}

/** An earlier agent's Node resource may still say Ready; the new one listens only once it is. */
async function agentAnswers(config: PlatformConfig): Promise<boolean> {
  const agent = new ApiClient({ server: `http://${config.host}:${config.agentPort}` });
  return agent.raw('GET', '/healthz').then(
    (response) => response.body.dump().then(() => true),
    () => false,
  );
}

/** Name and password of the first administrator, once after the very first start: the file they come in is gone then. */
export async function takeFirstAdmin(config: PlatformConfig): Promise<FirstAdmin | undefined> {
  const path = join(platformPaths(config.home).run, 'first-admin.json');
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  await rm(path, { force: true });
  return JSON.parse(text) as FirstAdmin;
}

/** Ends every process of the platform at `config.home`, whoever started it: agent first, so that it cleans up. */
export async function stopEverything(
  config: PlatformConfig,
  onProgress: (message: string) => void,
): Promise<number> {
  const paths = platformPaths(config.home);
  let ended = 0;
  // `up` goes first and does the rest itself when it is there.
  for (const name of partNames(config)) {
    const identity = await readPidFile(join(paths.run, `${name}.pid`));
    if (identity === undefined || identity.pid === process.pid) continue;
    onProgress(`stopping ${name} (pid ${identity.pid})…`);
    await endProcess(identity, name, AGENT_STOP_MS);
    await removePidFile(join(paths.run, `${name}.pid`));
    ended += 1;
  }
  return ended;
}
