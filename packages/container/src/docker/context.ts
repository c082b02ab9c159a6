// What every operation of the Docker driver works with.

import type { Clock } from '@heptad/core';
import type { DockerConnection } from './connection.ts';
import type { DockerContainers } from './containers.ts';
import type { EventFeed } from './event-feed.ts';
import type { ContainerNotes } from './notes.ts';
import type { SecretDirectory } from './secrets.ts';

/** One owner's part of one engine. */
export interface DockerContext {
  readonly connection: DockerConnection;
  readonly containers: DockerContainers;
  readonly clock: Clock;
  readonly owner: string;
  readonly defaultNetwork: string;
  readonly secrets: SecretDirectory;
  readonly notes: ContainerNotes;
  readonly feed: EventFeed;
}
