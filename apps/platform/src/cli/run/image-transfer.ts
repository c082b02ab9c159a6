// image pull, push: between this machine's image store and a registry, with progress on stderr.

import { readFile } from 'node:fs/promises';
import { ImageStore, type Operation, RegistryClient, type TransferEvent } from '@heptad/container';
import { formatBytes, HeptadError } from '@heptad/core';
import type { Command } from 'commander';
import { configFromEnvironment, platformPaths } from '../../config.ts';
import { untilSignal } from '../../supervise/shutdown.ts';
import { contextOf } from '../context.ts';
import { printJson, say } from '../output.ts';

/** How to reach a registry. */
export interface RegistryFlags {
  readonly plainHttp?: boolean;
  readonly ca?: string;
}

/** Flags of `heptad image pull`. */
interface PullFlags extends RegistryFlags {
  readonly platform?: string;
  readonly unpack: boolean;
  readonly referrers?: boolean;
}

/** Flags of `heptad image push`. */
interface PushFlags extends RegistryFlags {
  readonly platform?: string;
  readonly as?: string;
}

/** The client that these flags describe. Throws `PATH_NOT_FOUND` for an authority's file that cannot be read. */
export async function registryClient(flags: RegistryFlags): Promise<RegistryClient> {
  return new RegistryClient({
    ...(flags.plainHttp === undefined ? {} : { plainHttp: flags.plainHttp }),
    ...(flags.ca === undefined ? {} : { ca: await readAuthority(flags.ca) }),
  });
}

async function readAuthority(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new HeptadError('PATH_NOT_FOUND', `cannot read the certificate ${path}`, {
      cause,
      hint: 'give the path of a PEM file',
    });
  }
}

function openImages(): Promise<ImageStore> {
  return ImageStore.open({ home: platformPaths(configFromEnvironment().home).images });
}

/** `heptad image pull`. */
export async function pull(reference: string, flags: PullFlags, command: Command): Promise<void> {
  const { json, dryRun } = contextOf(command);
  await using client = await registryClient(flags);
  if (dryRun) {
    const found = await client.resolve(reference);
    if (json) printJson(found);
    else say(`would pull ${reference} (${found.digest.slice(0, 19)})`);
    return;
  }
  const pulling = client.pull(await openImages(), reference, {
    unpack: flags.unpack,
    referrers: flags.referrers ?? false,
    signal: untilInterrupted(),
    ...(flags.platform === undefined ? {} : { platform: flags.platform }),
  });
  await showTransfer(pulling, 'fetched');
  const pulled = await pulling;
  if (json) printJson(pulled);
  else process.stdout.write(`${pulled.name.replace(/@.*/, '')}@${pulled.digest}\n`);
}

/** `heptad image push`. */
export async function push(reference: string, flags: PushFlags, command: Command): Promise<void> {
  const { json, dryRun } = contextOf(command);
  await using client = await registryClient(flags);
  const pushing = client.push(await openImages(), reference, {
    dryRun,
    signal: untilInterrupted(),
    ...(flags.as === undefined ? {} : { as: flags.as }),
    ...(flags.platform === undefined ? {} : { platform: flags.platform }),
  });
  await showTransfer(pushing, 'sent');
  const pushed = await pushing;
  if (json) return printJson(pushed);
  if (dryRun) {
    const bytes = pushed.uploaded.reduce((sum, { size }) => sum + size, 0);
    say(
      `would send ${pushed.uploaded.length} blobs (${formatBytes(bytes)}); ${pushed.present.length} are there`,
    );
  }
  process.stdout.write(`${pushed.reference.replace(/@.*/, '')}@${pushed.digest}\n`);
}

/** Aborts on Ctrl-C; what has arrived stays for the next attempt. */
function untilInterrupted(): AbortSignal {
  const controller = new AbortController();
  void untilSignal().then(() =>
    controller.abort(
      new HeptadError('INTERRUPTED', 'interrupted', { hint: 'the same command goes on from here' }),
    ),
  );
  return controller.signal;
}

/** Shows progress: one line that changes on a terminal, else a line for each blob that is done. */
export async function showTransfer(
  operation: Operation<TransferEvent, unknown>,
  verb: string,
): Promise<void> {
  const isTerminal = process.stderr.isTTY === true;
  const offsets = new Map<string, number>();
  let total = 0;
  const clear = (): void => {
    if (isTerminal) process.stderr.write('\r\u001b[K');
  };
  try {
    for await (const event of operation) {
      const line = describe(event, verb);
      if (event.type === 'resolved') total = event.bytes;
      if (event.type === 'blob') offsets.set(event.digest, event.offset);
      if (line !== undefined && (!isTerminal || event.type === 'retry')) {
        clear();
        say(line);
      }
      if (!isTerminal) continue;
      const here = offsets.values().reduce((sum, offset) => sum + offset, 0);
      process.stderr.write(`\r\u001b[K${formatBytes(here)} of ${formatBytes(total)}`);
    }
  } finally {
    clear();
  }
}

function describe(event: TransferEvent, verb: string): string | undefined {
  switch (event.type) {
    case 'resolved':
      return `${event.reference}: ${event.blobs} blobs, ${formatBytes(event.bytes)}`;
    case 'blob':
      if (event.status === 'waiting' || event.status === 'transferring') return undefined;
      return `${event.digest.slice(0, 19)} ${event.status === 'done' ? verb : event.status} (${formatBytes(event.size)})`;
    case 'retry':
      return `again (${event.attempt}): ${event.reason}`;
    case 'unpacked':
      return undefined;
  }
}
