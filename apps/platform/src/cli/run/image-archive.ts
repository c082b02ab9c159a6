// image tag, untag, history, save, load: names and archives of this machine's images.

import { formatBytes } from '@heptad/core';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { printJson, printTable, say } from '../output.ts';
import { openImages } from './image.ts';

/** `heptad image tag SOURCE NAME`. */
export async function tag(source: string, name: string, command: Command): Promise<void> {
  const { dryRun, json } = contextOf(command);
  const images = await openImages();
  if (dryRun) {
    const { target } = await images.target(source);
    say(`would name ${target.digest.slice(0, 19)} ${name}`);
    return;
  }
  const made = await images.tag(source, name);
  if (json) printJson(made);
  else say(`${made.name} is ${made.target.digest.slice(0, 19)}`);
}

/** `heptad image history`. */
export async function history(name: string, command: Command): Promise<void> {
  const { json } = contextOf(command);
  const steps = await (await openImages()).history(name);
  if (json) return printJson(steps);
  printTable(
    ['CREATED', 'SIZE', 'LAYER', 'BY'],
    steps.map((step) => [
      step.created ?? '',
      formatBytes(step.sizeBytes),
      step.layer?.slice(0, 19) ?? '',
      step.createdBy.replace(/\s+/g, ' ').slice(0, 100),
    ]),
  );
}

/** `heptad image save NAME... [-o FILE]`: without a file, to standard output. */
export async function save(
  names: readonly string[],
  options: { output?: string },
  _command: Command,
): Promise<void> {
  const images = await openImages();
  await images.save(names, options.output ?? process.stdout);
  say(`saved ${names.join(', ')}${options.output === undefined ? '' : ` to ${options.output}`}`);
}

/** `heptad image load [FILE]`: without a file, from standard input. */
export async function load(file: string | undefined, command: Command): Promise<void> {
  const { json } = contextOf(command);
  const tags = await (await openImages()).load(file ?? process.stdin);
  if (json) return printJson(tags);
  for (const { name, target } of tags) process.stdout.write(`${name}@${target.digest}\n`);
}
