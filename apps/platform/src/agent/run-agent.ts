// This node's agent: opens the container engine, keeps proxy and storage nodes running, runs what is placed here.

import { randomBytes } from 'node:crypto';
import { mkdir, readFile, statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { type Clock, systemClock, systemRandom } from '@heptad/core';
import { NodeAgent } from '@heptad/orchestrator';
import type { RemoteStateStore } from '@heptad/storage/state';
import type { Logger } from 'pino';
import { storageTokenPath } from '../cli/run/storage-node.ts';
import { type PlatformConfig, platformPaths } from '../config.ts';
import { agentKey } from '../server/agents.ts';
import { STORAGE_NODES_KEY } from '../server/storage.ts';
import { keeperOf, storageNodeIds } from '../supervise/platform-processes.ts';
import type { ProcessKeeper } from '../supervise/process-keeper.ts';
import { serveAgentApi } from './agent-api.ts';
import { openEngine, removeAllContainers } from './clean-machine.ts';
import { observeContainers } from './container-metrics.ts';
import { facilityHooks } from './facilities.ts';
import { forgetStale } from './forget-stale.ts';
import { LogShipper } from './log-shipper.ts';

/** What the agent needs. */
export interface RunAgentOptions {
  readonly config: PlatformConfig;
  readonly server: string;
  readonly token: string;
  readonly logger: Logger;
  readonly store: RemoteStateStore;
  readonly telemetry: { close(): Promise<void> };
  /** Take down containers, proxy, storage nodes and network at the end, instead of leaving them to serve. */
  readonly cleanUpAtEnd: boolean;
  readonly clock?: Clock;
}

const TOKEN_BYTES = 32;
/** What is left for the platform itself and the system. */
const RESERVED_MEMORY_BYTES = 1024 ** 3;
const RESERVED_STORAGE_SHARE = 0.1;
/** Network capacity of a node that names none: a gigabit port. */
const DEFAULT_NETWORK_MBPS = 1_000;
const PROXY_STOP_MS = 10_000;
const STORAGE_STOP_MS = 10_000;

async function capacityOf(
  home: string,
): Promise<{ cpuMillis: number; memoryBytes: number; storageBytes: number; networkMbps: number }> {
  const { bavail, bsize } = await statfs(home);
  return {
    cpuMillis: availableParallelism() * 1000,
    memoryBytes: Math.max(0, totalmem() - RESERVED_MEMORY_BYTES),
    storageBytes: Math.floor(bavail * bsize * (1 - RESERVED_STORAGE_SHARE)),
    networkMbps: DEFAULT_NETWORK_MBPS,
  };
}

/** Starts the agent. Its API listens only once everything else runs. */
export async function runAgent(options: RunAgentOptions): Promise<AsyncDisposable> {
  const { config, server, token, logger, store, cleanUpAtEnd } = options;
  const clock = options.clock ?? systemClock;
  const paths = platformPaths(config.home);
  await mkdir(paths.engine, { recursive: true });
  await using opened = new AsyncDisposableStack();
  opened.use(store);
  opened.defer(() => options.telemetry.close());

  const engine = opened.use(await openEngine(config));
  const probe = await engine.probe();
  const isolated = probe.capabilities.isolation === 'container';
  for (const reason of probe.reasons) logger.warn(reason);
  if (isolated) await engine.ensureBridge();

  const event = (message: string): void => logger.warn(message);
  const address = isolated ? config.network.gateway : '127.0.0.1';
  const storageNodes = storageNodeIds(config).map((id, index) => ({
    id,
    port: config.storage.basePort + index,
    address: `${address}:${config.storage.basePort + index}`,
  }));
  const storageKeepers = storageNodes.map(({ id, port }) =>
    keeperOf(config, id, ['storage-node', '--id', id, '--host', address, '--port', String(port)], {}, event),
  );
  const proxyKeeper = keeperOf(
    config,
    'proxy',
    ['proxy'],
    { HEPTAD_ISOLATION: isolated ? 'container' : 'process' },
    event,
  );
  const keepers: ProcessKeeper[] = [...storageKeepers, proxyKeeper];
  await Promise.all(keepers.map((keeper) => keeper.start()));
  opened.defer(async () => {
    if (!cleanUpAtEnd) {
      for (const keeper of keepers) keeper.leave();
      return;
    }
    await proxyKeeper.stop({ graceMs: PROXY_STOP_MS });
    await Promise.all(storageKeepers.map((keeper) => keeper.stop({ graceMs: STORAGE_STOP_MS })));
    await engine.network?.removeBridge();
  });
  await store.txn({
    compare: [],
    success: [
      {
        op: 'put',
        key: STORAGE_NODES_KEY,
        value: JSON.stringify(storageNodes.map(({ id, address: at }) => ({ id, address: at }))),
      },
    ],
  });

  const storageToken = (await readFile(storageTokenPath(config.home), 'utf8')).trim();
  const services = facilityHooks({
    config,
    server,
    token,
    storageNodes: storageNodes.map((node) => node.address),
    storageToken,
    isolated,
  });
  await forgetStale(store, engine.runtime, config.nodeName);
  const agent = new NodeAgent({
    store,
    runtime: engine.runtime,
    clock,
    random: systemRandom,
    node: {
      name: config.nodeName,
      address: config.host,
      capacity: await capacityOf(config.home),
      labels: { 'kubernetes.io/os': 'linux', isolation: probe.capabilities.isolation },
    },
    services,
    onError: (error) => logger.warn({ err: error }, 'agent goes on after an error'),
  });
  await agent.start();
  opened.defer(async () => {
    await agent.close();
    if (cleanUpAtEnd) await removeAllContainers(engine);
  });

  observeContainers(engine.runtime);
  const otlp = new URL(server);
  otlp.port = String(config.otlpPort);
  opened.use(new LogShipper({ runtime: engine.runtime, endpoint: otlp.origin, token, clock }));
  const agentToken = randomBytes(TOKEN_BYTES).toString('base64url');
  opened.use(
    await serveAgentApi({
      runtime: engine.runtime,
      host: config.host,
      port: config.agentPort,
      token: agentToken,
      logger,
    }),
  );
  const url = `http://${config.host}:${config.agentPort}`;
  await store.txn({
    compare: [],
    success: [
      { op: 'put', key: agentKey(config.nodeName), value: JSON.stringify({ url, token: agentToken }) },
    ],
  });
  logger.info({ node: config.nodeName, isolation: probe.capabilities.isolation }, 'agent serves');
  const running = opened.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}
