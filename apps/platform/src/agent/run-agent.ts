// This node's agent: opens the container engine, keeps storage nodes running, and does its duty while it has one.

import { randomBytes } from 'node:crypto';
import { mkdir, statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { type Clock, systemClock } from '@heptad/core';
import type { AgentNode } from '@heptad/orchestrator';
import type { Logger } from 'pino';
import { type PlatformConfig, platformPaths } from '../config.ts';
import type { NodeProcess } from '../supervise/node-process.ts';
import { keeperOf, storageNodesOf } from '../supervise/platform-processes.ts';
import { serveAgentApi } from './agent-api.ts';
import { openEngine } from './clean-machine.ts';
import { beginDuty, clearDuty, type Duty } from './duty.ts';
import { followCenter } from './follow-center.ts';

/** What the agent needs. */
export interface RunAgentOptions {
  readonly config: PlatformConfig;
  readonly server: string;
  readonly logger: Logger;
  /** Opens what a duty needs of the server: its token may come into being only when this centre is promoted. */
  readonly openSurroundings: () => Promise<NodeProcess>;
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
const STORAGE_STOP_MS = 10_000;

async function capacityOf(home: string): Promise<AgentNode['capacity']> {
  const { bavail, bsize } = await statfs(home);
  return {
    cpuMillis: availableParallelism() * 1000,
    memoryBytes: Math.max(0, totalmem() - RESERVED_MEMORY_BYTES),
    storageBytes: Math.floor(bavail * bsize * (1 - RESERVED_STORAGE_SHARE)),
    networkMbps: DEFAULT_NETWORK_MBPS,
  };
}

/** Starts the agent. Its API listens only once everything else runs; at a standby centre that is without a duty. */
export async function runAgent(options: RunAgentOptions): Promise<AsyncDisposable> {
  const { config, server, logger, openSurroundings, cleanUpAtEnd } = options;
  const clock = options.clock ?? systemClock;
  const paths = platformPaths(config.home);
  await mkdir(paths.engine, { recursive: true });
  await using opened = new AsyncDisposableStack();

  const engine = opened.use(await openEngine(config));
  const probe = await engine.probe();
  const isolated = probe.capabilities.isolation === 'container';
  for (const reason of probe.reasons) logger.warn(reason);
  if (isolated) await engine.ensureBridge();

  const storageKeepers = storageNodesOf({ ...config, runtime: isolated ? 'oci' : 'process' }).map(
    ({ id, port, address }) =>
      keeperOf(
        config,
        id,
        [
          'storage-node',
          '--id',
          id,
          '--host',
          address.slice(0, address.lastIndexOf(':')),
          '--port',
          String(port),
        ],
        {},
        (message) => logger.warn(message),
      ),
  );
  await Promise.all(storageKeepers.map((keeper) => keeper.start()));
  opened.defer(async () => {
    if (!cleanUpAtEnd) {
      for (const keeper of storageKeepers) keeper.leave();
      return;
    }
    await Promise.all(storageKeepers.map((keeper) => keeper.stop({ graceMs: STORAGE_STOP_MS })));
    await engine.network?.removeBridge();
  });

  const agentToken = randomBytes(TOKEN_BYTES).toString('base64url');
  const capacity = await capacityOf(config.home);
  const begin = async (): Promise<Duty> => {
    const surroundings = await openSurroundings();
    return beginDuty({ config, engine, isolated, logger, clock, surroundings, capacity, agentToken });
  };
  const end = async (duty: Duty | undefined): Promise<void> => duty?.end(cleanUpAtEnd ? 'remove' : 'leave');
  if (config.centers === undefined) {
    const duty = await begin();
    opened.defer(() => end(duty));
  } else {
    const stop = new AbortController();
    const clear = (): Promise<void> => clearDuty(config, engine);
    const following = followCenter({ server, clock, logger, begin, clear }, stop.signal);
    opened.defer(async () => {
      stop.abort(new Error('the agent is stopping'));
      await end(await following);
    });
  }
  opened.use(
    await serveAgentApi({
      runtime: engine.runtime,
      host: config.host,
      port: config.agentPort,
      token: agentToken,
      logger,
    }),
  );
  logger.info({ node: config.nodeName, isolation: probe.capabilities.isolation }, 'agent serves');
  const running = opened.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}
