// The API server that serves a platform: controllers, security, monitoring, events and all routes over one state store.

import { type Clock, type LeaseGrantingStore, systemRandom } from '@heptad/core';
import { FailoverPredictor } from '@heptad/dr';
import { MeshClient, StateStoreCatalog } from '@heptad/mesh';
import { SqliteEventBus } from '@heptad/mesh/events';
import { MonitoringStack } from '@heptad/monitoring';
import { ContainerOrchestrator, loadSignals } from '@heptad/orchestrator';
import { CloudNativeSecurity } from '@heptad/security';
import type { Logger } from 'pino';
import type { PlatformCenter } from '../centers/platform-center.ts';
import { reportCenters } from '../centers/report-centers.ts';
import { retireForeignNodes } from '../centers/retire-nodes.ts';
import { adoptKeyring, publishKeyring } from '../centers/shared-keyring.ts';
import { type PlatformConfig, platformPaths } from '../config.ts';
import { AgentDirectory } from './agents.ts';
import { runAlerts } from './alerts.ts';
import { type App, buildApp } from './app.ts';
import { ChaosService } from './chaos.ts';
import { securityGate } from './gate.ts';
import { machineLoad, readNumber, trafficHealth } from './health.ts';
import { Idempotency } from './idempotency.ts';
import { ensureLocalSecrets } from './local-secrets.ts';
import type { ServerParts } from './parts.ts';
import { HealthSampler } from './prediction.ts';
import { type Recovery, SingleCenter } from './recovery.ts';
import { accessResources } from './resources.ts';
import { authRoutes } from './routes/auth.ts';
import { eventRoutes } from './routes/events.ts';
import { internalRoutes } from './routes/internal.ts';
import { meshRoutes } from './routes/mesh.ts';
import { monitoringRoutes, otlpRoutes } from './routes/monitoring.ts';
import { nodeRoutes } from './routes/nodes.ts';
import { operationRoutes } from './routes/operations.ts';
import { recoveryRoutes } from './routes/recovery.ts';
import { serviceRoutes } from './routes/services.ts';
import { storageRoutes } from './routes/storage.ts';
import { systemRoutes } from './routes/system.ts';
import { StorageService } from './storage.ts';
import { declareSystemService } from './system-service.ts';
import { revokeGoneWorkloads } from './workload-tokens.ts';

/** What the server works with. */
export interface ActiveServerOptions {
  readonly config: PlatformConfig;
  readonly logger: Logger;
  readonly clock: Clock;
  /** The platform's state; stays open. */
  readonly store: LeaseGrantingStore;
  readonly storageToken: string;
  /** Where this platform is one of several centres: it is primary now. */
  readonly center?: { readonly platform: PlatformCenter; readonly recovery: Recovery };
}

/** Starts it; resolves once it listens. Closing stops serving first. */
export async function openActiveServer(options: ActiveServerOptions): Promise<AsyncDisposable> {
  const { config, logger, clock, store, center } = options;
  const paths = platformPaths(config.home);
  await using opened = new AsyncDisposableStack();
  const resources = accessResources(store, { clock, random: systemRandom });
  const security = opened.use(await openSecurity(options));
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
  const storage = opened.use(new StorageService(store, options.storageToken, center?.platform));
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
  const predictor = new FailoverPredictor();
  const sampler = opened.use(
    new HealthSampler(
      look,
      (sample) => center?.platform.recovery.observeHealth(sample) ?? predictor.observe(sample),
      clock,
    ),
  );
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
    recovery: center?.recovery ?? new SingleCenter(() => sampler.prediction),
    signals: loadSignals(),
    redactor: security.redactor,
  };
  if (center !== undefined) {
    const retired = await retireForeignNodes(store, center.platform.self);
    if (retired.length > 0) logger.info({ nodes: retired }, 'nodes of other centres are retired');
  }
  await orchestrator.start();
  await declareSystemService(store, orchestrator, config);
  runInBackground(opened, parts, logger, center?.platform);
  opened.use(await listen(parts, logger));
  logger.info({ address: `http://${config.host}:${config.port}` }, 'server serves');
  const running = opened.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}

async function openSecurity({
  config,
  store,
  clock,
  center,
}: ActiveServerOptions): Promise<CloudNativeSecurity> {
  const { security: directory } = platformPaths(config.home);
  if (center === undefined) return CloudNativeSecurity.open({ directory, store, clock });
  const { secret } = center.platform.settings;
  await adoptKeyring(store, directory, secret);
  const publish = (): Promise<void> => publishKeyring(store, directory, secret);
  const security = await CloudNativeSecurity.open({
    directory,
    store,
    clock,
    // Every centre has an audit log of its own: they are not one chain.
    auditName: center.platform.self,
    onKeyringSaved: publish,
  });
  try {
    await publish();
    return security;
  } catch (error) {
    await security[Symbol.asyncDispose]();
    throw error;
  }
}

function runInBackground(
  opened: AsyncDisposableStack,
  parts: ServerParts,
  logger: Logger,
  center: PlatformCenter | undefined,
): void {
  const { clock, store, security, storage } = parts;
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
  if (center !== undefined)
    background('reporting centres', reportCenters(center, parts.resources.Center, clock, stop.signal));
}

async function listen(parts: ServerParts, logger: Logger): Promise<AsyncDisposable> {
  const { config, store, clock } = parts;
  const gate = securityGate(parts.security);
  const api: App = await buildApp(gate, logger);
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
  recoveryRoutes(api, parts.recovery);
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
