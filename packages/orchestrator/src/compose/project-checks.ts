// What no service can be blamed for alone: names, cycles of dependencies, ports published twice.

import { resourceName } from '@heptad/core';
import { didYouMean } from './problems.ts';
import type { ReadService } from './service.ts';

/** Names of services are host names. */
export function checkNames(services: readonly ReadService[]): void {
  for (const { name, at } of services) {
    const parsed = resourceName.safeParse(name);
    if (parsed.success) continue;
    at.problem(`service name "${name}" ${parsed.error.issues[0]?.message ?? 'is no name'}`);
  }
}

/** Every dependency exists, and none leads back to where it began. */
export function checkDependencies(services: readonly ReadService[]): void {
  const byName = new Map(services.map((service) => [service.name, service]));
  for (const service of services) {
    for (const { service: wanted, condition, at } of service.dependencies) {
      const target = byName.get(wanted);
      if (target === undefined) {
        const near = didYouMean(wanted, [...byName.keys()]);
        at.problem(
          `depends on "${wanted}", which is not a service of this file`,
          near === undefined ? undefined : `did you mean "${near}"?`,
        );
      } else if (
        condition === 'healthy' &&
        target.spec !== undefined &&
        target.spec.healthCheck === undefined
      ) {
        at.problem(
          `waits for "${wanted}" to be healthy, but ${wanted} has no health check`,
          `give ${wanted} a healthcheck, or use condition: service_started`,
        );
      }
    }
  }
  checkCycles(services, byName);
}

/** Depth-first search; each cycle is reported once, at the dependency that closes it. */
function checkCycles(services: readonly ReadService[], byName: ReadonlyMap<string, ReadService>): void {
  const done = new Set<string>();
  for (const start of services) {
    const path: string[] = [];
    const visit = (service: ReadService): void => {
      if (done.has(service.name)) return;
      path.push(service.name);
      for (const { service: next, at } of service.dependencies) {
        const from = path.indexOf(next);
        const target = byName.get(next);
        if (from >= 0) {
          at.problem(
            `dependencies form a cycle: ${[...path.slice(from), next].join(' -> ')}`,
            'remove one of them',
          );
        } else if (target !== undefined) {
          visit(target);
        }
      }
      path.pop();
      done.add(service.name);
    };
    visit(start);
  }
}

/** One host port leads to one service; one service names each of its ports once. */
export function checkPorts(services: readonly ReadService[]): void {
  const published = new Map<string, { service: string; address: string }[]>();
  for (const { name, ports } of services) {
    const names = new Map<string, string>();
    for (const { port, at } of ports) {
      const kind = `${port.port}/${port.protocol}/${port.published === undefined ? 'expose' : 'ports'}`;
      const before = names.get(port.name);
      // The same port under expose and ports is one port; two others of one name are not.
      if (before !== undefined && (before === kind || before.split('/')[0] !== kind.split('/')[0])) {
        at.problem(`two ports are named "${port.name}"`, 'use the long syntax and give one another name');
      }
      names.set(port.name, kind);
      if (port.published === undefined) continue;
      const key = `${port.published}/${port.protocol}`;
      const address = port.publishedAddress ?? '127.0.0.1';
      const others = published.get(key) ?? [];
      const clash = others.find((other) => overlaps(other.address, address));
      if (clash !== undefined) {
        at.problem(
          `host port ${port.published} (${port.protocol}) is published twice; service ${clash.service} has it already`,
          'choose another host port',
        );
      }
      published.set(key, [...others, { service: name, address }]);
    }
  }
}

function overlaps(a: string, b: string): boolean {
  const any = (address: string): boolean => address === '0.0.0.0' || address === '::';
  return a === b || any(a) || any(b);
}
