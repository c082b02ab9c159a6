// image build, ls, rm, inspect, prune: this machine's image store.

import { buildNodeImage, ContainerEngine } from '@heptad/container';
import { formatBytes } from '@heptad/core';
import type { Command } from 'commander';
import { configFromEnvironment, platformPaths } from '../../config.ts';
import { contextOf } from '../context.ts';
import { printJson, printTable, say } from '../output.ts';

async function withEngine<T>(use: (engine: ContainerEngine) => Promise<T>): Promise<T> {
  const config = configFromEnvironment();
  const engine = await ContainerEngine.open({ home: platformPaths(config.home).engine, runtime: config.runtime });
  try {
    return await use(engine);
  } finally {
    await engine[Symbol.asyncDispose]();
  }
}

/** `heptad image build DIR -t NAME`. */
export async function build(directory: string, options: { tag: string; main: string }, command: Command): Promise<void> {
  const { json } = contextOf(command);
  const built = await withEngine((engine) => buildNodeImage({ images: engine.images, name: options.tag, directory, main: options.main, onProgress: (step) => say(String(step)) }));
  if (json) printJson(built);
  else process.stdout.write(`${options.tag}@${built.digest}\n`);
}

/** `heptad image ls`. */
export async function list(command: Command): Promise<void> {
  const { json } = contextOf(command);
  const images = await withEngine((engine) => engine.images.list());
  if (json) return printJson(images);
  printTable(['NAME', 'DIGEST', 'SIZE', 'CREATED'], images.map((image) => [image.name, image.digest.slice(0, 19), formatBytes(image.sizeBytes), image.createdAt ?? '-']));
}

/** `heptad image rm`. */
export async function remove(name: string, command: Command): Promise<void> {
  const { dryRun } = contextOf(command);
  await withEngine(async (engine) => {
    const image = await engine.images.inspect(name);
    if (!dryRun) await engine.images.remove(name);
    say(`${dryRun ? 'would remove' : 'removed'} ${name} (${image.digest.slice(0, 19)})`);
  });
}

/** `heptad image inspect`. */
export async function inspect(name: string, _command: Command): Promise<void> {
  printJson(await withEngine((engine) => engine.images.inspect(name)));
}

/** `heptad image prune`. */
export async function prune(command: Command): Promise<void> {
  const { json, dryRun } = contextOf(command);
  const result = await withEngine((engine) => engine.prune({ dryRun }));
  if (json) printJson(result);
  else say(`${dryRun ? 'would free' : 'freed'} ${formatBytes(result.freedBytes)} in ${result.removed} blobs and snapshots`);
}
