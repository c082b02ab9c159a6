// image ls, rm, inspect, prune: this machine's image store.

import { ImageStore } from '@heptad/container';
import { type ContainerResource, formatBytes, type ServiceResource } from '@heptad/core';
import type { Command } from 'commander';
import { configFromEnvironment, platformPaths } from '../../config.ts';
import { contextOf } from '../context.ts';
import { printJson, printTable, say } from '../output.ts';
import { listAll } from './inspect.ts';

/** Several processes may use the store at once: the agent of a running platform, and we. */
export function openImages(): Promise<ImageStore> {
  return ImageStore.open({ home: platformPaths(configFromEnvironment().home).images });
}

/** `heptad image ls`. */
export async function list(command: Command): Promise<void> {
  const { json } = contextOf(command);
  const images = await (await openImages()).list();
  if (json) return printJson(images);
  printTable(
    ['NAME', 'DIGEST', 'SIZE', 'NAMED AT'],
    images.map((image) => [
      image.name,
      image.digest.slice(0, 19),
      formatBytes(image.sizeBytes),
      new Date(image.taggedAt).toISOString(),
    ]),
  );
}

/** `heptad image rm`. */
export async function remove(name: string, command: Command): Promise<void> {
  const { dryRun } = contextOf(command);
  const images = await openImages();
  const image = await images.inspect(name);
  if (!dryRun) await images.remove(name);
  say(`${dryRun ? 'would remove' : 'removed'} ${name} (${image.digest.slice(0, 19)})`);
}

/** `heptad image inspect`. */
export async function inspect(name: string, _command: Command): Promise<void> {
  printJson(await (await openImages()).inspect(name));
}

/** `heptad image prune`: the platform says which images its services and containers use. */
export async function prune(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const [services, containers] = await Promise.all([
    listAll<ServiceResource>(client, '/api/v1/services'),
    listAll<ContainerResource>(client, '/api/v1/containers'),
  ]);
  const used = [
    ...services.map((one) => one.spec.image),
    ...containers.map((one) => one.spec.template.image),
  ];
  const inUse = used.flatMap((name) => {
    const digest = /@(sha256:[0-9a-f]{64})$/.exec(name)?.[1];
    return digest === undefined ? [] : [digest];
  });
  const report = await (await openImages()).gc({ inUse });
  if (json) printJson(report);
  else say(`freed ${formatBytes(report.freedBytes)}: ${report.blobs} blobs, ${report.snapshots} snapshots`);
}
