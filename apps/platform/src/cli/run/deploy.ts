// apply, plan, delete, scale, rollout, wait, drain, cordon, quota.

import { ImageStore } from '@heptad/container';
import {
  HeptadError,
  invalidArgument,
  parseDuration,
  type QuotaResource,
  type ServiceResource,
} from '@heptad/core';
import type { Command } from 'commander';
import { configFromEnvironment, platformPaths } from '../../config.ts';
import { applyManifest, isReady, type PlannedChange, planManifest, waitReady } from '../../deploy/apply.ts';
import { buildProject, manifestOf, type ProjectManifest, readProject } from '../../deploy/project.ts';
import { contextOf } from '../context.ts';
import { EXIT, printJson, printTable, say } from '../output.ts';
import { listAll } from './inspect.ts';

/** Reads the Compose file and builds its images in this machine's image store. */
export async function buildFromFile(file: string): Promise<ProjectManifest> {
  const project = await readProject(file);
  if (project.services.every((service) => service.build === undefined)) return manifestOf(project);
  const images = await ImageStore.open({ home: platformPaths(configFromEnvironment().home).images });
  return buildProject(project, images, say);
}

function printChanges(changes: readonly PlannedChange[]): void {
  printTable(
    ['CHANGE', 'OBJECT', 'WHY'],
    changes.map((change) => [change.change, change.object, change.because]),
  );
}

/** `heptad apply`. */
export async function apply(
  options: { file: string; wait?: boolean; timeout: string },
  command: Command,
): Promise<void> {
  const { client, json, dryRun } = contextOf(command);
  const timeoutMs = parseDuration(options.timeout);
  const manifest = await buildFromFile(options.file);
  const changes = await planManifest(client, manifest);
  if (!dryRun) await applyManifest(client, manifest);
  if (json) printJson({ changes, applied: !dryRun });
  else printChanges(changes);
  if (dryRun || !options.wait) return;
  await waitReady(
    client,
    manifest.services.map((service) => service.name),
    { timeoutMs, onProgress: say },
  );
}

/** `heptad plan`: exit code 2 when there are changes. */
export async function plan(options: { file: string }, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const changes = await planManifest(client, await buildFromFile(options.file));
  if (json) printJson({ changes });
  else printChanges(changes);
  if (changes.some((change) => change.change !== 'none')) process.exitCode = EXIT.changesPending;
}

/** `heptad delete`. */
export async function remove(
  service: string | undefined,
  options: { file?: string },
  command: Command,
): Promise<void> {
  const { client, dryRun } = contextOf(command);
  if ((service === undefined) === (options.file === undefined))
    throw invalidArgument('delete needs a SERVICE or -f FILE, one of them', 'heptad delete SERVICE');
  const names =
    service === undefined
      ? (await readProject(options.file ?? '')).services.map((one) => one.name)
      : [service];
  for (const name of names) {
    if (dryRun) await client.json('GET', `/api/v1/services/${name}`);
    else await client.raw('DELETE', `/api/v1/services/${name}`);
    say(dryRun ? `would remove ${name}` : `removing ${name}`);
  }
}

/** `heptad scale SERVICE=N`. */
export async function scale(assignment: string, command: Command): Promise<void> {
  const { client, json, dryRun } = contextOf(command);
  const match = /^([^=]+)=(\d+)$/.exec(assignment);
  if (match === null)
    throw invalidArgument(`"${assignment}" is no assignment`, 'heptad scale SERVICE=N, such as web=3');
  const [, name = '', count = ''] = match;
  const before = await client.json<ServiceResource>('GET', `/api/v1/services/${name}`);
  if (dryRun) return say(`would scale ${name} from ${before.spec.replicas} to ${count}`);
  const after = await client.json<ServiceResource>('POST', `/api/v1/services/${name}/scale`, {
    replicas: Number(count),
  });
  if (json) printJson(after);
  else say(`scaled ${name} from ${before.spec.replicas} to ${after.spec.replicas}`);
}

/** `heptad rollout status`. */
export async function rolloutStatus(name: string, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const service = await client.json<ServiceResource>('GET', `/api/v1/services/${name}`);
  if (json) return printJson({ ready: isReady(service), ...service.status });
  const { rollout, replicas } = service.status;
  process.stdout.write(
    `${name}: ${rollout?.state ?? 'idle'}; ${replicas.updated}/${service.spec.replicas} updated, ${replicas.ready} ready. ${rollout?.message ?? ''}\n`,
  );
}

interface HistoryItem {
  readonly number: number;
  readonly at: number;
  readonly outcome: string;
  readonly version: string;
  readonly image: string;
}

/** `heptad rollout undo`. */
export async function rolloutUndo(name: string, command: Command): Promise<void> {
  const { client, json, dryRun } = contextOf(command);
  if (dryRun) {
    const { items } = await client.json<{ items: HistoryItem[] }>('GET', `/api/v1/services/${name}/history`);
    const target = items.slice(0, -1).findLast((item) => item.outcome === 'good');
    return say(
      target === undefined
        ? `${name} has no earlier revision that worked`
        : `would go back to ${target.image}`,
    );
  }
  const service = await client.json<ServiceResource>('POST', `/api/v1/services/${name}/rollback`, {});
  if (json) printJson(service);
  else say(`${name} goes back to ${service.spec.image}`);
}

/** `heptad rollout pause|resume`. */
export async function rolloutChange(verb: 'pause' | 'resume', name: string, command: Command): Promise<void> {
  const service = await contextOf(command).client.json<ServiceResource>(
    'POST',
    `/api/v1/services/${name}/${verb}`,
    {},
  );
  say(`${name}: ${service.status.rollout?.message ?? verb}`);
}

/** `heptad rollout history`. */
export async function rolloutHistory(name: string, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const { items } = await client.json<{ items: HistoryItem[] }>('GET', `/api/v1/services/${name}/history`);
  if (json) return printJson(items);
  printTable(
    ['REVISION', 'AT', 'OUTCOME', 'VERSION', 'IMAGE'],
    items.map((item) => [
      String(item.number),
      new Date(item.at).toISOString(),
      item.outcome,
      item.version,
      item.image,
    ]),
  );
}

/** `heptad wait SERVICE --for ready`. */
export async function wait(
  name: string,
  options: { for: string; timeout: string },
  command: Command,
): Promise<void> {
  const { client } = contextOf(command);
  if (options.for !== 'ready') throw invalidArgument(`cannot wait for "${options.for}"`, 'known: ready');
  await waitReady(client, [name], { timeoutMs: parseDuration(options.timeout), onProgress: say });
  say(`${name} is ready`);
}

/** `heptad drain|cordon|uncordon NODE`. */
export async function changeNode(
  verb: 'drain' | 'cordon' | 'uncordon',
  node: string,
  command: Command,
): Promise<void> {
  const { client, dryRun } = contextOf(command);
  if (dryRun) {
    await client.json('GET', `/api/v1/nodes/${node}`);
    return say(`would ${verb} ${node}`);
  }
  await client.json('POST', `/api/v1/nodes/${node}/${verb}`, {});
  say(`${node}: ${verb} accepted`);
}

/** `heptad quota show`. */
export async function quotaShow(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const quotas = await listAll<QuotaResource>(client, '/api/v1/quota');
  if (json) return printJson(quotas);
  printTable(
    ['NAME', 'STRATEGY', 'SERVICE', 'MESSAGE'],
    quotas.map(({ name, spec, status }) => [
      name,
      spec.adaptive?.strategy ?? '-',
      spec.adaptive?.service ?? '-',
      status.message,
    ]),
  );
}

interface Adjustment {
  readonly service: string;
  readonly before: { cpuMillis: number; replicas: number };
  readonly after: { cpuMillis: number; replicas: number };
  readonly because: string;
}

/** `heptad quota adjust STRATEGY`. */
export async function quotaAdjust(
  strategy: string,
  options: { service?: string },
  command: Command,
): Promise<void> {
  const { client, json, dryRun } = contextOf(command);
  const { adjustments } = await client.json<{ adjustments: Adjustment[] }>('POST', '/api/v1/quota/adjust', {
    strategy,
    dryRun,
    ...(options.service === undefined ? {} : { service: options.service }),
  });
  if (json) return printJson(adjustments);
  printTable(
    ['SERVICE', 'CPU', 'REPLICAS', 'WHY'],
    adjustments.map((one) => [
      one.service,
      `${one.before.cpuMillis}m -> ${one.after.cpuMillis}m`,
      `${one.before.replicas} -> ${one.after.replicas}`,
      one.because,
    ]),
  );
  if (adjustments.length === 0)
    throw new HeptadError('NOT_FOUND', 'there is no service to adjust', { hint: 'heptad services' });
}
