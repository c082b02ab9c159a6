// What the driver writes on its containers, to know them again and what the engine does not keep for it.

import type { ContainerHealthCheck } from '@heptad/core';

/** Says which runtime a container belongs to; containers of others are neither seen nor touched. */
export const OWNER_LABEL = 'dev.heptad.owner';
/** Names one creation, by which its secrets and, after a broken connection, its outcome are found. */
export const CREATION_LABEL = 'dev.heptad.creation';
/** Names of environment variables whose values are secret. */
export const SECRET_ENVIRONMENT_LABEL = 'dev.heptad.secret-environment';
/** What is done with one that became unhealthy; the engine itself does nothing. */
export const ON_UNHEALTHY_LABEL = 'dev.heptad.on-unhealthy';

const OWN: readonly string[] = [OWNER_LABEL, CREATION_LABEL, SECRET_ENVIRONMENT_LABEL, ON_UNHEALTHY_LABEL];

/** Labels without those of the driver itself. */
export function userLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([name]) => !OWN.includes(name)));
}

/** What the labels say is to be done with an unhealthy container. */
export function unhealthyAction(
  labels: Readonly<Record<string, string>>,
): NonNullable<ContainerHealthCheck['onUnhealthy']> {
  const action = labels[ON_UNHEALTHY_LABEL];
  return action === 'none' || action === 'stop' ? action : 'restart';
}
