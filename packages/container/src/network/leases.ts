// The addresses that the host-local plugin has given out, brought in step with the attachments that there are.

import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId } from '@heptad/core';
import { ensureDirectory } from '../system/files.ts';
import { type AttachmentRecord, addressOf } from './attachments.ts';

const ADDRESS = /^\d+\.\d+\.\d+\.\d+$/;
const INTERFACE = 'eth0';

/** host-local keeps one file per address; its first line is the container, its second the interface. */
async function holder(path: string): Promise<{ id: string; interfaceName: string }> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const [id = '', interfaceName = ''] = text.split(/\r?\n/);
  return { id: id.trim(), interfaceName: interfaceName.trim() };
}

async function leased(directory: string): Promise<string[]> {
  return (await readdir(directory).catch(() => [])).filter((name) => ADDRESS.test(name));
}

/**
 * Makes the leases in `directory` those of `attachments`: one of a container that is not attached, or that has another
 * address, is freed, since a crash left it; one that is missing is written again, since its address would be given out
 * twice. Returns a sentence for each change.
 */
export async function reconcileLeases(
  directory: string,
  attachments: readonly AttachmentRecord[],
): Promise<string[]> {
  const changed: string[] = [];
  const byId = new Map(attachments.map((record) => [record.id, record]));
  const present = new Set<string>();
  for (const address of await leased(directory)) {
    const { id } = await holder(join(directory, address));
    const record = byId.get(id);
    const current = record === undefined ? undefined : addressOf(record);
    // Of an ADD that was cut short the result is not known: DEL, which knows the container, frees its lease.
    if (record !== undefined && (current === undefined || current === address)) {
      present.add(address);
      continue;
    }
    await rm(join(directory, address), { force: true });
    changed.push(`address ${address}`);
  }
  for (const record of attachments) {
    const address = addressOf(record);
    if (address === undefined || present.has(address)) continue;
    await ensureDirectory(directory);
    await writeFile(join(directory, address), `${record.id}\r\n${record.interfaceName ?? INTERFACE}`);
    changed.push(`lost lease of ${address}`);
  }
  return changed;
}

/** Frees what `id` has on an interface; after a crash it may have an address that nobody remembers. */
export async function freeLeasesOf(
  directory: string,
  id: ContainerId,
  interfaceName: string,
): Promise<number> {
  let freed = 0;
  for (const address of await leased(directory)) {
    const path = join(directory, address);
    const held = await holder(path);
    if (held.id !== id || held.interfaceName !== interfaceName) continue;
    await rm(path, { force: true });
    freed += 1;
  }
  return freed;
}
