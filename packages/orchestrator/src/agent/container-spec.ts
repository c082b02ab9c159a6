// What the runtime is asked to create for a Container resource.

import type { ContainerResource, ContainerSpec, Mount, SecretFile, ServiceResource } from '@heptad/core';
import { CONTAINER_LABEL, NODE_LABEL, SERVICE_LABEL } from '../plan/identity.ts';
import type { ContainerServices } from './options.ts';

/** Files that are no secret (configs) may be read by every user of the container. */
const CONFIG_MODE = 0o444;

/** Variables by which programs find services without names: `CATALOG_SERVICE_HOST`, `CATALOG_SERVICE_PORT`. */
export function serviceEnvironment(services: Iterable<ServiceResource>): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const { name, spec, status } of services) {
    if (status.virtualAddress === undefined) continue;
    const prefix = name.toUpperCase().replaceAll('-', '_');
    environment[`${prefix}_SERVICE_HOST`] = status.virtualAddress;
    const [first] = spec.ports;
    if (first !== undefined) environment[`${prefix}_SERVICE_PORT`] = String(first.port);
    for (const port of spec.ports) {
      const suffix = port.name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_');
      environment[`${prefix}_SERVICE_PORT_${suffix}`] = String(port.port);
    }
  }
  return environment;
}

/** Names for /etc/hosts: every service that has an address, and what the platform adds. */
export function serviceHosts(
  services: Iterable<ServiceResource>,
  extra: Readonly<Record<string, string>>,
): Record<string, string> {
  const hosts: Record<string, string> = {};
  for (const { name, status, deletedAt } of services) {
    if (status.virtualAddress !== undefined && deletedAt === undefined) hosts[name] = status.virtualAddress;
  }
  return { ...hosts, ...extra };
}

/** Builds the runtime's spec. Rejects when a hook does. */
export async function containerSpec(
  container: ContainerResource,
  node: string,
  services: readonly ServiceResource[],
  extraHosts: Readonly<Record<string, string>>,
  hooks: ContainerServices,
): Promise<ContainerSpec> {
  const { template, service } = container.spec;
  const offered = (await hooks.environment?.(container)) ?? {};
  const secrets = (await hooks.secrets?.(container)) ?? {};
  const mounts = (await hooks.mounts?.(container)) ?? [];
  const { image, entrypoint, command, user, workingDirectory, runtime } = template;
  return {
    name: container.name,
    image,
    ...(runtime === 'auto' ? {} : { runtime }),
    ...(entrypoint === undefined ? {} : { entrypoint }),
    ...(command === undefined ? {} : { command }),
    ...(user === undefined ? {} : { user }),
    ...(workingDirectory === undefined ? {} : { workingDirectory }),
    hostname: container.name,
    // Later ones win: what the author wrote is never overridden by what is only offered.
    environment: {
      ...serviceEnvironment(services),
      HEPTAD_SERVICE: service,
      HEPTAD_CONTAINER: container.name,
      HEPTAD_NODE: node,
      ...offered,
      ...template.environment,
      ...secrets.environment,
    },
    secretEnvironment: [...template.secretEnvironment, ...Object.keys(secrets.environment ?? {})],
    labels: {
      ...template.labels,
      [CONTAINER_LABEL]: container.id,
      [NODE_LABEL]: node,
      [SERVICE_LABEL]: service,
    },
    limits: limitsOf(container),
    mounts: [...template.volumes.map(mountOf), ...mounts],
    secrets: filesOf(container, secrets.files ?? []),
    hosts: serviceHosts(services, extraHosts),
    readOnlyRootfs: template.readOnlyRootfs,
  };
}

/** The limits a container should have now. */
export function limitsOf(container: ContainerResource): NonNullable<ContainerSpec['limits']> {
  const { cpuMillis, memoryBytes, pids } = container.spec.template.resources.limits;
  return {
    ...(cpuMillis === undefined ? {} : { cpuMillis }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(pids === undefined ? {} : { pids }),
  };
}

function mountOf(volume: ContainerResource['spec']['template']['volumes'][number]): Mount {
  if (volume.type !== 'tmpfs') return volume;
  const { type, target, sizeBytes } = volume;
  return { type, target, ...(sizeBytes === undefined ? {} : { sizeBytes }) };
}

function filesOf(container: ContainerResource, secret: readonly SecretFile[]): SecretFile[] {
  const replaced = new Set(secret.map((file) => file.target));
  const own = container.spec.template.files
    .filter((file) => !replaced.has(file.target))
    .map(({ target, content, secret: hidden }) => ({
      target,
      content,
      ...(hidden ? {} : { mode: CONFIG_MODE }),
    }));
  return [...own, ...secret];
}
