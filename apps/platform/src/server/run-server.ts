// The API server: opens the state, starts the controllers, serves.

import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, systemClock, systemRandom } from '@heptad/core';
import { MeshClient, StateStoreCatalog } from '@heptad/mesh';
import { SqliteEventBus } from '@heptad/mesh/events';
import { MonitoringStack } from '@heptad/monitoring';
import { ContainerOrchestrator, loadSignals } from '@heptad/orchestrator';
import { CloudNativeSecurity } from '@heptad/security';
import { SqliteStateStore } from '@heptad/storage/state';
import type { Logger } from 'pino';
import { storageTokenPath } from '../cli/run/storage-node.ts';
import { type PlatformConfig, platformPaths } from '../config.ts';
import { AgentDirectory } from './agents.ts';
import { runAlerts } from './alerts.ts';
import { type App, buildApp } from './app.ts';
import { ChaosService } from './chaos.ts';
import { securityGate } from './gate.ts';
import { machineLoad, readNumber, trafficHealth } from './health.ts';
import { Idempotency } from './idempotency.ts';
import { ensureLocalSecrets, ensureStorageToken } from './local-secrets.ts';
import type { ServerParts } from './parts.ts';
import { RecoveryService } from './recovery.ts';
import { accessResources } from './resources.ts';
import { authRoutes } from './routes/auth.ts';
import { eventRoutes } from './routes/events.ts';
import { internalRoutes } from './routes/internal.ts';
import { meshRoutes } from './routes/mesh.ts';
import { monitoringRoutes, otlpRoutes } from './routes/monitoring.ts';
import { nodeRoutes } from './routes/nodes.ts';
import { operationRoutes } from './routes/operations.ts';
import { serviceRoutes } from './routes/services.ts';
import { storageRoutes } from './routes/storage.ts';
import { systemRoutes } from './routes/system.ts';
import { StorageService } from './storage.ts';
import { declareSystemService } from './system-service.ts';
import { revokeGoneWorkloads } from './workload-tokens.ts';

/** What the server needs. */
export interface RunServerOptions {
  readonly config: PlatformConfig;
  readonly logger: Logger;
  readonly clock?: Clock;
}

/** Starts the server; closing stops serving first and closes the state last. */
export async function runServer(options: RunServerOptions): Promise<AsyncDisposable> {
  const { config, logger } = options;
  const clock = options.clock ?? systemClock;
  const paths = platformPaths(config.home);
  await using opened = new AsyncDisposableStack();
  for (const path of [paths.stateDb, paths.eventsDb])
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });

  const store = opened.use(new SqliteStateStore({ path: paths.stateDb, clock }));
  const resources = accessResources(store, { clock, random: systemRandom });
  const security = opened.use(await CloudNativeSecurity.open({ directory: paths.security, store, clock }));
  await ensureLocalSecrets(security, paths.run);
  const monitoring = opened.use(new MonitoringStack({ directory: paths.monitoring, clock }));
  const bus = opened.use(new SqliteEventBus({ path: paths.eventsDb, clock }));
  const orchestrator = opened.use(
    new ContainerOrchestrator({
      store,
      clock,
      virtualAddressCidr: config.network.virtualCidr,
      onError: (error) => logger.warn({ err: error }, 'controller goes on after an error'),
    }),
  );
  const storage = opened.use(
    new StorageService(store, await ensureStorageToken(storageTokenPath(config.home))),
  );
  const meshClient = opened.use(new MeshClient({ catalog: new StateStoreCatalog({ store }), clock }));
  const agents = new AgentDirectory(store, resources.Container);
  const chaos = opened.use(
    new ChaosService({
      store,
      clock,
      services: resources.Service,
      containers: resources.Container,
      agents,
      readMetric: async (expression) => (await readNumber(monitoring, expression, clock.now())) ?? 0,
    }),
  );
  const look = async (): Promise<{ latencyMs: number; load: number; errorRate: number } | undefined> => {
    const traffic = await trafficHealth(monitoring, clock.now());
    return traffic === undefined ? undefined : { ...traffic, load: machineLoad() };
  };
  const dr = opened.use(new RecoveryService(resources.Center, look, clock));
  const parts: ServerParts = {
    config,
    clock,
    store,
    resources,
    orchestrator,
    security,
    monitoring,
    bus,
    storage,
    meshClient,
    agents,
    chaos,
    dr,
    signals: loadSignals(),
    redactor: security.redactor,
  };
  await orchestrator.start();
  await declareSystemService(store, orchestrator, config);
  const stop = new AbortController();
  opened.defer(() => stop.abort());
  const background = (name: string, work: Promise<unknown>): void => {
    work.catch((error: unknown) => {
      if (!stop.signal.aborted) logger.error({ err: error }, `${name} stopped`);
    });
  };
  background('following storage nodes', storage.follow(stop.signal));
  background(
    'revoking tokens of gone containers',
    revokeGoneWorkloads(store, security, (ms, signal) => clock.sleep(ms, signal), stop.signal),
  );
  background('alert rules', runAlerts(parts, stop.signal));
  opened.use(await listen(parts, logger));
  logger.info({ address: `http://${config.host}:${config.port}` }, 'server serves');
  const running = opened.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}

async function listen(parts: ServerParts, logger: Logger): Promise<AsyncDisposable> {
  const { config } = parts;
  const gate = securityGate(parts.security);
  const api: App = await buildApp(gate, logger);
  const { store, clock } = parts;
  new Idempotency({
    store,
    keys: parts.security.keys,
    random: systemRandom,
    now: () => clock.now(),
  }).install(api);
  await systemRoutes(api, parts);
  authRoutes(api, parts);
  serviceRoutes(api, parts);
  nodeRoutes(api, parts);
  meshRoutes(api, parts);
  storageRoutes(api, parts);
  operationRoutes(api, parts);
  monitoringRoutes(api, parts);
  eventRoutes(api, parts);
  internalRoutes(api, parts);
  const otlp: App = await buildApp(gate, logger);
  otlpRoutes(otlp, parts);
  await api.listen({ host: config.host, port: config.port });
  await otlp.listen({ host: config.host, port: config.otlpPort });
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all([api.close(), otlp.close()]);
    },
  };
}
