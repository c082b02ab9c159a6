// What the server is made of, as its routes see it.

import type { Clock, EventBus, LeaseGrantingStore } from '@heptad/core';
import type { MeshClient } from '@heptad/mesh';
import type { MonitoringStack } from '@heptad/monitoring';
import type { ContainerOrchestrator, SignalSource } from '@heptad/orchestrator';
import type { CloudNativeSecurity, Redactor } from '@heptad/security';
import type { PlatformConfig } from '../config.ts';
import type { AgentDirectory } from './agents.ts';
import type { ChaosService } from './chaos.ts';
import type { Recovery } from './recovery.ts';
import type { ResourceAccess } from './resources.ts';
import type { StorageService } from './storage.ts';

/** Every part of a running server. */
export interface ServerParts {
  readonly config: PlatformConfig;
  readonly clock: Clock;
  readonly store: LeaseGrantingStore;
  readonly resources: ResourceAccess;
  readonly orchestrator: ContainerOrchestrator;
  readonly security: CloudNativeSecurity;
  readonly monitoring: MonitoringStack;
  readonly bus: EventBus;
  readonly storage: StorageService;
  readonly meshClient: MeshClient;
  readonly agents: AgentDirectory;
  readonly chaos: ChaosService;
  readonly recovery: Recovery;
  /** Signals that adaptive strategies read. */
  readonly signals: SignalSource;
  readonly redactor: Redactor;
}
