// One loopback address of 127.87.0.0/16 for each container, so that many can listen on one port.

import { open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import { ensureDirectory } from '../system/files.ts';

// .0 and .255 are left out: some programs take them for networks and broadcasts.
const HOSTS_PER_NETWORK = 254;
const MAX_TRIES = 1_000;

/** Leases as files named by the address; creating one exclusively is the allocation. */
export class LoopbackAddresses {
  private readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** An address that no other container of this home has; the same again for the same container. */
  async lease(id: ContainerId): Promise<string> {
    await ensureDirectory(this.directory);
    const start = Number.parseInt(id.slice(0, 8), 16);
    for (let attempt = 0; attempt < MAX_TRIES; attempt += 1) {
      const address = addressFor(start + attempt);
      if (await this.take(address, id)) return address;
    }
    throw new ContainerError('LIMIT_EXCEEDED', 'no free loopback address for another container', {
      hint: 'remove containers that are not needed',
    });
  }

  /** Gives a container's address back. */
  async release(id: ContainerId): Promise<void> {
    await this.removeWhere((owner) => owner === id);
  }

  /** Gives back what containers not in `known` hold; returns the addresses. */
  async reconcile(known: ReadonlySet<ContainerId>): Promise<string[]> {
    return await this.removeWhere((owner) => !known.has(owner));
  }

  private async take(address: string, id: ContainerId): Promise<boolean> {
    try {
      const file = await open(join(this.directory, address), 'wx', 0o600);
      await file.writeFile(id);
      await file.close();
      return true;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      return (await this.owner(address)) === id;
    }
  }

  private async removeWhere(matches: (owner: string) => boolean): Promise<string[]> {
    const removed: string[] = [];
    for (const address of await readdir(this.directory).catch(() => [])) {
      const owner = await this.owner(address);
      if (owner === undefined || !matches(owner)) continue;
      await rm(join(this.directory, address), { force: true });
      removed.push(address);
    }
    return removed;
  }

  private async owner(address: string): Promise<string | undefined> {
    return await readFile(join(this.directory, address), 'utf8').catch(() => undefined);
  }
}

/** The n-th address of 127.87.0.0/16, counted around. */
export function addressFor(index: number): string {
  const slot = index % (256 * HOSTS_PER_NETWORK);
  return `127.87.${Math.floor(slot / HOSTS_PER_NETWORK)}.${(slot % HOSTS_PER_NETWORK) + 1}`;
}
