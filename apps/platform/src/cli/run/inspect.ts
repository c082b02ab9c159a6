// ps, services, nodes, containers, events, logs, exec: what is there and what it does.

import {
  type ContainerResource,
  formatBytes,
  formatCpu,
  HeptadError,
  type NodeResource,
  parseDuration,
  type ServiceResource,
  systemClock,
} from '@heptad/core';
import type { Command } from 'commander';
import type { ApiClient } from '../../client/api-client.ts';
import { type CommandContext, contextOf } from '../context.ts';
import { runExec } from '../exec-client.ts';
import { age, printJson, printTable } from '../output.ts';

/** Label of the services that belong to the platform itself. */
const SYSTEM_LABEL = 'heptad.io/system';

interface List<T> {
  readonly items: readonly T[];
  readonly nextCursor?: string;
}

/** All pages of a list. */
export async function listAll<T>(client: ApiClient, path: string): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const separator = path.includes('?') ? '&' : '?';
    const part = await client.json<List<T>>(
      'GET',
      cursor === undefined ? path : `${path}${separator}cursor=${encodeURIComponent(cursor)}`,
    );
    items.push(...part.items);
    cursor = part.nextCursor;
  } while (cursor !== undefined);
  return items;
}

async function containersOf(client: ApiClient, service: string | undefined): Promise<ContainerResource[]> {
  const all = await listAll<ContainerResource>(client, '/api/v1/containers');
  const found = service === undefined ? all : all.filter((container) => container.spec.service === service);
  if (service !== undefined && found.length === 0)
    await client.json('GET', `/api/v1/services/${encodeURIComponent(service)}`);
  return found;
}

/** `heptad ps`. */
export async function ps(service: string | undefined, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const containers = await containersOf(client, service);
  if (json) return printJson(containers);
  const now = systemClock.now();
  printTable(
    ['NAME', 'SERVICE', 'NODE', 'STATUS', 'READY', 'ISOLATION', 'RESTARTS', 'AGE', 'MESSAGE'],
    containers.map(({ name, spec, status, createdAt }) => [
      name,
      spec.service,
      spec.node ?? '-',
      status.status,
      status.ready ? 'yes' : 'no',
      status.isolation ?? '-',
      String(status.restarts),
      age(status.startedAt ?? createdAt, now),
      status.message,
    ]),
  );
}

/** `heptad containers`. */
export async function containers(name: string | undefined, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  if (name !== undefined)
    return printJson(await client.json('GET', `/api/v1/containers/${encodeURIComponent(name)}/runtime`));
  const all = await containersOf(client, undefined);
  if (json) return printJson(all);
  printTable(
    ['NAME', 'RUNTIME ID', 'IMAGE', 'ADDRESS', 'STATUS', 'EXIT', 'RESTARTS'],
    all.map(({ name, spec, status }) => [
      name,
      status.runtimeId?.slice(0, 12) ?? '-',
      spec.template.image,
      status.address ?? '-',
      status.status,
      status.exitCode === undefined ? '-' : String(status.exitCode),
      String(status.restarts),
    ]),
  );
}

function portText(service: ServiceResource): string {
  const texts = service.spec.ports.map((port) =>
    port.published === undefined
      ? `${port.port}/${port.protocol.toLowerCase()}`
      : `${port.publishedAddress ?? '127.0.0.1'}:${port.published}->${port.port}`,
  );
  return texts.join(', ') || '-';
}

/** `heptad services`. */
export async function services(options: { all?: boolean }, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const all = await listAll<ServiceResource>(client, '/api/v1/services');
  const shown = options.all ? all : all.filter((service) => service.labels[SYSTEM_LABEL] === undefined);
  if (json) return printJson(shown);
  printTable(
    ['NAME', 'READY', 'RUNNING', 'FAILED', 'PENDING', 'IMAGE', 'PORTS', 'ROLLOUT'],
    shown.map(({ name, spec, status, ...rest }) => [
      name,
      `${status.replicas.ready}/${spec.replicas}`,
      String(status.replicas.running),
      String(status.replicas.failed),
      String(status.replicas.pending),
      spec.image,
      portText({ name, spec, status, ...rest }),
      rest.deletedAt === undefined ? (status.rollout?.message ?? '-') : 'being removed',
    ]),
  );
}

/** `heptad nodes`. */
export async function nodes(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const all = await listAll<NodeResource>(client, '/api/v1/nodes');
  if (json) return printJson(all);
  printTable(
    ['NAME', 'STATUS', 'RUNTIME', 'CPU', 'MEMORY', 'STORAGE', 'NETWORK', 'ADDRESS'],
    all.map(({ name, spec, status }) => [
      name,
      `${status.status}${spec.draining ? ',draining' : spec.unschedulable ? ',cordoned' : ''}`,
      status.runtime === undefined ? '-' : `${status.runtime.name} (${status.runtime.isolation})`,
      `${formatCpu(status.allocated.cpuMillis)}/${formatCpu(spec.capacity.cpuMillis)}`,
      `${formatBytes(status.allocated.memoryBytes)}/${formatBytes(spec.capacity.memoryBytes)}`,
      `${formatBytes(status.allocated.storageBytes)}/${formatBytes(spec.capacity.storageBytes)}`,
      `${status.allocated.networkMbps}/${spec.capacity.networkMbps} Mbit/s`,
      spec.address,
    ]),
  );
}

/** One event as the API sends it. */
export interface PlatformEvent {
  readonly at: number;
  readonly object: string;
  readonly op: string;
  readonly because: string;
}

function printEvent(event: PlatformEvent, json: boolean): void {
  process.stdout.write(
    json
      ? `${JSON.stringify(event)}\n`
      : `${new Date(event.at).toISOString()}  ${event.object}  ${event.op}: ${event.because}\n`,
  );
}

/** `heptad events`. */
export async function events(options: { follow?: boolean }, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  if (!options.follow) {
    const { items } = await client.json<List<PlatformEvent>>('GET', '/api/v1/events/recent');
    for (const event of items) printEvent(event, json);
    return;
  }
  await followEvents(client, (event) => printEvent(event, json));
}

/** Follows events for ever (or until `signal`), resuming after a lost connection. */
export async function followEvents(
  client: ApiClient,
  show: (event: PlatformEvent) => void,
  signal?: AbortSignal,
): Promise<void> {
  const RECONNECT_MS = 500;
  let lastEventId: string | undefined;
  while (!signal?.aborted) {
    try {
      for await (const event of client.events({
        ...(lastEventId === undefined ? {} : { lastEventId }),
        ...(signal === undefined ? {} : { signal }),
        onId: (id) => {
          lastEventId = id;
        },
      })) {
        if (event.type === 'step') show(event.data as PlatformEvent);
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof HeptadError && error.code !== 'UNAVAILABLE') throw error;
    }
    await systemClock.sleep(RECONNECT_MS, signal).catch(() => {});
  }
}

interface LogLineJson {
  readonly at: number;
  readonly stream: string;
  readonly text: string;
}

/** `heptad logs`. */
export async function logs(
  service: string,
  options: { follow?: boolean; since?: string; tail?: number },
  command: Command,
): Promise<void> {
  const context = contextOf(command);
  const replicas = await containersOf(context.client, service);
  const query = new URLSearchParams();
  if (options.follow) query.set('follow', 'true');
  if (options.since !== undefined)
    query.set('since', String(systemClock.now() - parseDuration(options.since)));
  if (options.tail !== undefined) query.set('tail', String(options.tail));
  await Promise.all(replicas.map((replica) => printLogs(context, replica.name, query, replicas.length > 1)));
}

async function printLogs(
  { client, json }: CommandContext,
  name: string,
  query: URLSearchParams,
  prefixed: boolean,
): Promise<void> {
  for await (const line of client.lines(`/api/v1/containers/${encodeURIComponent(name)}/logs?${query}`)) {
    if (json)
      process.stdout.write(`${JSON.stringify({ container: name, ...(JSON.parse(line) as LogLineJson) })}\n`);
    else process.stdout.write(`${prefixed ? `${name} | ` : ''}${(JSON.parse(line) as LogLineJson).text}\n`);
  }
}

/** `heptad exec`. Resolves with the program's exit code as ours. */
export async function exec(
  service: string,
  given: readonly string[],
  options: { interactive?: boolean; tty?: boolean; container?: string },
  command: Command,
): Promise<void> {
  const words = given[0] === '--' ? given.slice(1) : given;
  if (words.length === 0)
    throw new HeptadError('INVALID_ARGUMENT', 'exec needs a program to run', {
      hint: 'heptad exec SERVICE -- CMD [ARG...]',
    });
  const { client } = contextOf(command);
  const replicas = await containersOf(client, service);
  const replica =
    options.container === undefined
      ? replicas.find((one) => one.status.status === 'Running')
      : replicas.find((one) => one.name === options.container);
  if (replica === undefined) {
    throw new HeptadError(
      'NOT_FOUND',
      `service "${service}" has no ${options.container === undefined ? 'running replica' : `replica "${options.container}"`}`,
      { hint: `heptad ps ${service}` },
    );
  }
  process.exitCode = await runExec(client, replica.name, words, options);
}
