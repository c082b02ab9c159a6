// An agent's duty: to run what the platform places on this machine. It has one while its server serves the platform: always with
// a single centre, and only at the primary where there are several.

import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerEngine } from '@heptad/container';
import { type Clock, systemRandom } from '@heptad/core';
import { type AgentNode, NodeAgent } from '@heptad/orchestrator';
import type { Logger } from 'pino';
import { CENTER_LABEL } from '../centers/retire-nodes.ts';
import { storageTokenPath } from '../cli/run/storage-node.ts';
import { type PlatformConfig, platformPaths } from '../config.ts';
import { SNAPSHOT_FILE } from '../proxy/snapshot-file.ts';
import { agentKey } from '../server/agents.ts';
import { STORAGE_NODES_KEY } from '../server/storage.ts';
import type { NodeProcess } from '../supervise/node-process.ts';
import { keeperOf, storageNodesOf } from '../supervise/platform-processes.ts';
import { readPidFile, removePidFile } from '../supervise/process-identity.ts';
import { endProcess } from '../supervise/process-keeper.ts';
import { removeAllContainers } from './clean-machine.ts';
import { observeContainers } from './container-metrics.ts';
import { facilityHooks } from './facilities.ts';
import { forgetStale } from './forget-stale.ts';
import { LogShipper } from './log-shipper.ts';

/** What a duty works with. */
export interface DutyOptions {
  readonly config: PlatformConfig;
  readonly engine: ContainerEngine;
  readonly isolated: boolean;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Server, token, state and telemetry; closed at the end of the duty. */
  readonly surroundings: NodeProcess;
  readonly capacity: AgentNode['capacity'];
  /** Token of the agent's own API. */
  readonly agentToken: string;
}

/** A duty that is being done. */
export interface Duty {
  /** `leave`: containers and proxy go on serving without us; `remove`: nothing of the duty is left. */
  end(how: 'leave' | 'remove'): Promise<void>;
}

const PROXY_STOP_MS = 10_000;

/** Begins it; resolves once the node is registered and its containers are looked after. */
export async function beginDuty(options: DutyOptions): Promise<Duty> {
  const { config, engine, isolated, logger, clock, surroundings } = options;
  const { store, server, token, telemetry } = surroundings;
  let how: 'leave' | 'remove' = 'leave';
  await using opened = new AsyncDisposableStack();
  opened.use(store);
  opened.defer(() => telemetry.close());
  const proxyKeeper = keeperOf(
    config,
    'proxy',
    ['proxy'],
    { HEPTAD_ISOLATION: isolated ? 'container' : 'process' },
    (message) => logger.warn(message),
  );
  await proxyKeeper.start();
  opened.defer(async () => {
    if (how === 'leave') proxyKeeper.leave();
    else await proxyKeeper.stop({ graceMs: PROXY_STOP_MS });
  });
  const nodes = storageNodesOf({ ...config, runtime: isolated ? 'oci' : 'process' });
  // At one of several centres this key would be replicated to where these addresses mean other nodes.
  if (config.centers === undefined) {
    const value = JSON.stringify(nodes.map(({ id, address }) => ({ id, address })));
    await store.txn({ compare: [], success: [{ op: 'put', key: STORAGE_NODES_KEY, value }] });
  }
  const services = facilityHooks({
    config,
    server,
    token,
    storage:
      config.centers === undefined
        ? {
            nodes: nodes.map(({ address }) => address),
            token: (await readFile(storageTokenPath(config.home), 'utf8')).trim(),
          }
        : 'server',
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
      capacity: options.capacity,
      labels: {
        'kubernetes.io/os': 'linux',
        isolation: isolated ? 'container' : 'process',
        ...(config.centers === undefined ? {} : { [CENTER_LABEL]: config.centers.self }),
      },
    },
    services,
    onError: (error) => logger.warn({ err: error }, 'agent goes on after an error'),
  });
  await agent.start();
  opened.defer(async () => {
    await agent.close();
    if (how === 'remove') await removeAllContainers(engine);
  });
  observeContainers(engine.runtime);
  const otlp = new URL(server);
  otlp.port = String(config.otlpPort);
  opened.use(
    new LogShipper({
      runtime: engine.runtime,
      endpoint: otlp.origin,
      token,
      clock,
      marksFile: join(platformPaths(config.home).run, 'shipped-logs.json'),
    }),
  );
  const url = `http://${config.host}:${config.agentPort}`;
  const value = JSON.stringify({ url, token: options.agentToken });
  await store.txn({ compare: [], success: [{ op: 'put', key: agentKey(config.nodeName), value }] });
  logger.info({ node: config.nodeName, isolated }, 'agent is on duty');
  const running = opened.move();
  return {
    end: async (wanted) => {
      how = wanted;
      await running.disposeAsync();
    },
  };
}

/**
 * Removes what an earlier duty left on this machine: its containers, its proxy and what the proxy remembers. Where another centre
 * serves now, none of it may answer anybody.
 */
export async function clearDuty(config: PlatformConfig, engine: ContainerEngine): Promise<void> {
  const { run } = platformPaths(config.home);
  const pidFile = join(run, 'proxy.pid');
  const proxy = await readPidFile(pidFile);
  if (proxy !== undefined) await endProcess(proxy, 'proxy', PROXY_STOP_MS);
  await removePidFile(pidFile);
  await rm(join(run, SNAPSHOT_FILE), { force: true });
  await removeAllContainers(engine);
}
