// mesh services, endpoints, routes, policies, call.

import {
  type EndpointResource,
  HeptadError,
  type NetworkPolicyResource,
  type ServiceResource,
  type TrafficRuleResource,
} from '@heptad/core';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { printJson, printTable } from '../output.ts';
import { listAll } from './inspect.ts';

/** `heptad mesh services`. */
export async function meshServices(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const services = await listAll<ServiceResource>(client, '/api/v1/services');
  if (json)
    return printJson(
      services.map(({ name, spec, status }) => ({
        name,
        virtualAddress: status.virtualAddress,
        ports: spec.ports,
      })),
    );
  printTable(
    ['SERVICE', 'VIRTUAL ADDRESS', 'PORTS', 'MODE'],
    services.map(({ name, spec, status }) => [
      name,
      status.virtualAddress ?? '-',
      spec.ports.map((port) => port.port).join(', ') || '-',
      spec.trafficMode,
    ]),
  );
}

/** `heptad mesh endpoints`. */
export async function endpoints(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const all = await listAll<EndpointResource>(client, '/api/v1/mesh/endpoints');
  if (json) return printJson(all);
  printTable(
    ['NAME', 'SERVICE', 'ADDRESS', 'PORTS', 'STATE', 'WEIGHT', 'VERSION'],
    all.map(({ name, spec, status }) => [
      name,
      spec.service,
      spec.address,
      Object.values(spec.ports).join(', '),
      status.state,
      String(spec.weight),
      spec.version ?? '-',
    ]),
  );
}

/** `heptad mesh routes`. */
export async function routes(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const all = await listAll<TrafficRuleResource>(client, '/api/v1/mesh/routes');
  if (json) return printJson(all);
  printTable(
    ['NAME', 'FROM', 'TO', 'VERSION', 'WEIGHT', 'CONDITIONS'],
    all.map(({ name, spec }) => [
      name,
      spec.source?.service ?? 'anybody',
      spec.target.service,
      spec.target.version ?? 'any',
      `${spec.weight} %`,
      spec.conditions.map((one) => `${one.header ?? one.on} ${one.operator} ${one.value}`).join(' and ') ||
        '-',
    ]),
  );
}

/** `heptad mesh policies`. */
export async function policies(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const all = await listAll<NetworkPolicyResource>(client, '/api/v1/mesh/policies');
  if (json) return printJson(all);
  const peers = (rules: NetworkPolicyResource['spec']['ingress']): string => {
    if (rules === undefined) return 'unrestricted';
    if (rules.length === 0) return 'nobody';
    return rules
      .map(
        (rule) =>
          rule.peers.map((peer) => peer.service ?? peer.cidr ?? JSON.stringify(peer.labels)).join(', ') ||
          'anybody',
      )
      .join('; ');
  };
  printTable(
    ['NAME', 'SELECTS', 'INGRESS FROM', 'EGRESS TO'],
    all.map(({ name, spec }) => [
      name,
      spec.selector.service ?? JSON.stringify(spec.selector.labels ?? {}),
      peers(spec.ingress),
      peers(spec.egress),
    ]),
  );
}

/** `heptad mesh call`: the platform calls a service the way the mesh does, and we print the answer. */
export async function call(
  service: string,
  path: string,
  options: { method: string; data?: string },
  command: Command,
): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<{ status: number; headers: Record<string, string>; body: string }>(
    'POST',
    '/api/v1/mesh/call',
    {
      service,
      path: path.startsWith('/') ? path : `/${path}`,
      method: options.method,
      ...(options.data === undefined ? {} : { body: options.data }),
    },
  );
  if (json) return printJson(answer);
  process.stdout.write(answer.body.endsWith('\n') ? answer.body : `${answer.body}\n`);
  if (answer.status >= 400)
    throw new HeptadError('CALL_FAILED', `${service}${path} answered ${answer.status}`);
}
