// What a node agent is given: the machine, its runtime, and what the platform offers to containers.

import type {
  Clock,
  ContainerResource,
  ContainerRuntime,
  Mount,
  Random,
  ResourceQuantities,
  SecretFile,
  StateStore,
} from '@heptad/core';

/** The machine an agent speaks for. */
export interface AgentNode {
  /** Name of the Node resource. */
  readonly name: string;
  readonly capacity: ResourceQuantities;
  /** Address where other nodes reach it. */
  readonly address: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly zone?: string;
}

/** Secrets of a container, from wherever they are kept. They go to the runtime only, never into a resource. */
export interface ContainerSecrets {
  /** Variables whose values are shown as `***` everywhere. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Files in memory. One with the target of a file of the spec replaces it. */
  readonly files?: readonly SecretFile[];
}

/**
 * What the platform adds to a container before it is created. A hook that rejects keeps the container from starting;
 * it is tried again with back-off, and the reason is in the container's status.
 */
export interface ContainerServices {
  /** Variables, such as the addresses of facilities. The service's own win. */
  environment?(container: ContainerResource): Promise<Readonly<Record<string, string>>>;
  secrets?(container: ContainerResource): Promise<ContainerSecrets>;
  mounts?(container: ContainerResource): Promise<readonly Mount[]>;
}

/** Options of {@link NodeAgent}. */
export interface NodeAgentOptions {
  readonly store: StateStore;
  readonly runtime: ContainerRuntime;
  readonly node: AgentNode;
  /** Default the system's. */
  readonly clock?: Clock;
  /** Default the system's. */
  readonly random?: Random;
  /** Default `default`. */
  readonly namespace?: string;
  readonly services?: ContainerServices;
  /** More names for every container's /etc/hosts, such as `heptad` -> the bridge's gateway. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** How often the agent reports. Milliseconds, default 2000: a third of what makes a node suspect. */
  readonly heartbeatMs?: number;
  /** How often everything is compared with reality even if nothing seemed to change. Milliseconds, default 10000. */
  readonly resyncMs?: number;
  /** Hears what went wrong while the agent goes on by itself. */
  readonly onError?: (error: unknown) => void;
}

/** Default of {@link NodeAgentOptions.heartbeatMs}. */
export const DEFAULT_HEARTBEAT_MS = 2_000;
/** Default of {@link NodeAgentOptions.resyncMs}. */
export const DEFAULT_RESYNC_MS = 10_000;
