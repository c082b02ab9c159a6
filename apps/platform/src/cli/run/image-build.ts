// image build and sbom: a directory becomes an image of this machine's store, and what is in it can be read.

import {
  type BuildImageOptions,
  type BuildProgress,
  buildImage,
  planImage,
  RegistryClient,
  readSbom,
} from '@heptad/container';
import { formatBytes, invalidArgument } from '@heptad/core';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { printJson, printTable, say } from '../output.ts';
import { openImages } from './image.ts';

/** Flags of `heptad image build`. */
export interface BuildFlags {
  readonly tag: string;
  readonly main?: string;
  readonly base?: string;
  readonly user?: string;
  readonly file?: string;
  readonly target?: string;
  readonly buildArg: readonly string[];
  readonly label: readonly string[];
  readonly sbom: boolean;
}

/** `heptad image build DIR -t NAME`. */
export async function build(directory: string, flags: BuildFlags, command: Command): Promise<void> {
  const { json, dryRun } = contextOf(command);
  const images = await openImages();
  await using registry = new RegistryClient();
  const { main, base, user, file, target } = flags;
  const options: BuildImageOptions = {
    images,
    name: flags.tag,
    directory,
    sbom: flags.sbom,
    labels: pairs(flags.label, '--label'),
    args: pairs(flags.buildArg, '--build-arg'),
    pull: (reference) => registry.pull(images, reference),
    onProgress: sayProgress,
    ...(main === undefined ? {} : { main }),
    ...(base === undefined ? {} : { base }),
    ...(user === undefined ? {} : { user }),
    ...(file === undefined ? {} : { dockerfile: file }),
    ...(target === undefined ? {} : { target }),
  };
  if (dryRun) return await planImage(options);
  const built = await buildImage(options);
  if (json) printJson(built);
  else process.stdout.write(`${flags.tag}@${built.digest}\n`);
}

function sayProgress({ step, message, bytes }: BuildProgress): void {
  const amount = bytes === undefined ? '' : ` (${formatBytes(bytes)})`;
  say(step === 'done' || step === 'dockerfile' ? `${message}${amount}` : `${step}: ${message}${amount}`);
}

/** `KEY=VALUE` flags as an object. */
export function pairs(texts: readonly string[], flag: string): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const equals = text.indexOf('=');
      if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)];
      throw invalidArgument(`"${text}" is no ${flag}`, `write ${flag} KEY=VALUE`);
    }),
  );
}

/** `heptad image sbom NAME`: a table of what is in it, or with --json the CycloneDX document. */
export async function sbom(name: string, command: Command): Promise<void> {
  const document = await readSbom(await openImages(), name);
  if (contextOf(command).json) return printJson(document);
  printTable(
    ['TYPE', 'NAME', 'VERSION', 'LICENCES'],
    document.components.map((one) => [
      one.type,
      typeof one.group === 'string' ? `${one.group}/${one.name}` : one.name,
      typeof one.version === 'string' ? one.version : '-',
      licencesOf(one.licenses),
    ]),
  );
}

function licencesOf(licenses: unknown): string {
  if (!Array.isArray(licenses)) return '-';
  const texts = licenses.map((one: { expression?: string; license?: { name?: string; id?: string } }) => {
    return one.expression ?? one.license?.name ?? one.license?.id ?? '?';
  });
  return texts.join(', ');
}
