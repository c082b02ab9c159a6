// Published ports: one host port leads to one service.

import { HeptadError, type ServiceResource, type ServiceSpec } from '@heptad/core';

/**
 * Every node's proxy listens on every published port, so it can belong to one service only.
 *
 * @throws HeptadError `PORT_IN_USE` naming the service that has it.
 */
export function checkPublishedPorts(
  name: string,
  spec: ServiceSpec,
  services: readonly ServiceResource[],
): void {
  const wanted = spec.ports.filter((port) => port.published !== undefined);
  for (const other of services) {
    if (other.name === name) continue;
    for (const port of other.spec.ports) {
      const clash = wanted.find(
        (mine) =>
          mine.published === port.published &&
          mine.protocol === port.protocol &&
          overlaps(mine.publishedAddress, port.publishedAddress),
      );
      if (clash === undefined) continue;
      throw new HeptadError(
        'PORT_IN_USE',
        `cannot deploy ${name}: port ${clash.published} is published by service ${other.name}`,
        {
          hint: 'choose another published port, or remove that service first',
          details: { service: other.name },
        },
      );
    }
  }
}

function overlaps(a = '127.0.0.1', b = '127.0.0.1'): boolean {
  return a === b || a === '0.0.0.0' || b === '0.0.0.0' || a === '::' || b === '::';
}
