// What all workers of an agent share.

import type {
  Clock,
  ContainerResource,
  ContainerRuntime,
  Random,
  Resources,
  ServiceResource,
} from '@heptad/core';
import type { AgentNode, ContainerServices } from './options.ts';

/** See the file's first line. */
export interface AgentContext {
  readonly runtime: ContainerRuntime;
  readonly node: AgentNode;
  readonly clock: Clock;
  readonly random: Random;
  readonly containers: Resources<'Container'>;
  readonly endpoints: Resources<'Endpoint'>;
  readonly hooks: ContainerServices;
  readonly hosts: Readonly<Record<string, string>>;
  /** All services, fresh from the store if it answers, else as last known. */
  services(): Promise<readonly ServiceResource[]>;
  /** Services as last known. */
  knownServices(): readonly ServiceResource[];
  /** Records an event; best effort, never waits. */
  tell(container: ContainerResource, op: string, because: string): void;
  onError(error: unknown): void;
  /** Whether this agent may still act: not closed and not fenced. */
  readonly signal: AbortSignal;
}
