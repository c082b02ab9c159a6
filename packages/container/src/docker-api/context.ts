// What every route works with.

import type { Clock, ContainerRuntime, Random } from '@heptad/core';
import type { GarbageReport } from '../image/garbage.ts';
import type { ImageStore } from '../image/image-store.ts';
import type { RegistryClientOptions } from '../registry/registry-client.ts';
import type { ApiEvents } from './events.ts';
import type { ExecRegistry } from './exec-registry.ts';
import type { ImageIndex } from './image-index.ts';
import type { ApiNetworks, ServedNetworks } from './networks.ts';
import type { SettingsStore } from './settings.ts';
import type { VolumeStore } from './volumes.ts';

/** What the API makes its answers from: an engine, seen as its parts. */
export interface ServedEngine {
  readonly home: string;
  readonly runtime: ContainerRuntime;
  readonly images: ImageStore;
  /** Absent for an engine whose networks are not its own. */
  readonly networks?: ServedNetworks | undefined;
  /** Deletes image data that neither a name nor a container needs. */
  prune(options?: { minimumAgeMs?: number }): Promise<GarbageReport>;
}

/** Shared by all routes. */
export interface ApiContext {
  readonly engine: ServedEngine;
  readonly runtime: ContainerRuntime;
  readonly images: ImageIndex;
  readonly settings: SettingsStore;
  readonly volumes: VolumeStore;
  readonly networks: ApiNetworks;
  readonly execs: ExecRegistry;
  readonly events: ApiEvents;
  readonly registry: RegistryClientOptions;
  readonly clock: Clock;
  readonly random: Random;
  /** When the API began to answer. */
  readonly startedAt: number;
}
