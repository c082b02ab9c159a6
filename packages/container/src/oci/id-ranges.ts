// Ranges of ids for containers with a user namespace of their own: one range, one container.

import { createHash } from 'node:crypto';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId, UserNamespace } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import { ensureDirectory } from '../system/files.ts';
import type { IdMappings } from './idmapped-mount.ts';

/** Ids of the host that containers may have. */
export interface IdPool {
  readonly firstId: number;
  readonly count: number;
}

/** What a container gets: every id that a distribution's packages use, and those of 16 bits. */
export const IDS_PER_CONTAINER = 65_536;
// systemd sets 0x00080000..0x6FFFFFFF aside for containers; this is the upper part, far from what useradd gives out.
const DEFAULT_POOL: IdPool = { firstId: 0x5000_0000, count: 0x1000_0000 };
// Who may own ranges for containers in /etc/subuid: us, or Podman's name for the same.
const OWNERS: readonly string[] = ['heptad', 'containers'];
const RESERVATIONS = '/var/lib/heptad-ids';
const MAX_TRIES = 4_096;

/** The ranges of `owners` in the text of /etc/subuid or /etc/subgid. */
export function subordinateRanges(text: string, owners: readonly string[]): IdPool[] {
  return text.split('\n').flatMap((line) => {
    const [owner, first, count] = line.trim().split(':');
    if (owner === undefined || !owners.includes(owner)) return [];
    const range = { firstId: Number(first), count: Number(count) };
    return Number.isSafeInteger(range.firstId) && range.count > 0 ? [range] : [];
  });
}

/** The pool: the largest range that both files give us, else one that no distribution gives to people. */
export function choosePool(subuid: string, subgid: string): IdPool {
  const gids = subordinateRanges(subgid, OWNERS);
  const both = subordinateRanges(subuid, OWNERS).filter((range) =>
    gids.some(({ firstId, count }) => firstId === range.firstId && count === range.count),
  );
  const [largest] = both.sort((one, other) => other.count - one.count);
  return largest !== undefined && largest.count >= IDS_PER_CONTAINER ? largest : DEFAULT_POOL;
}

/** Gives ranges out, the same to no two containers of the machine. */
export class IdRanges {
  private readonly directory: string;
  private readonly pool: IdPool | undefined;

  /** `pool`: default from /etc/subuid and /etc/subgid. */
  constructor(options: { pool?: IdPool | undefined; directory?: string } = {}) {
    this.pool = options.pool;
    this.directory = options.directory ?? RESERVATIONS;
  }

  /** The mapping that a spec asks for; undefined: none. Throws `LIMIT_EXCEEDED` when no range is free. */
  async mappingsFor(
    wanted: UserNamespace | undefined,
    id: ContainerId,
    owner: string,
  ): Promise<IdMappings | undefined> {
    if (wanted === undefined || wanted === 'host') return undefined;
    if (wanted !== 'auto') return wanted;
    const range = [{ containerId: 0, hostId: await this.take(id, owner), size: IDS_PER_CONTAINER }];
    return { uids: range, gids: range };
  }

  /** Gives back what the container in directory `owner` has. */
  async free(owner: string): Promise<void> {
    const first = await this.held(owner);
    if (first !== undefined) await rm(join(this.directory, String(first)), { force: true });
  }

  private async held(owner: string): Promise<number | undefined> {
    for (const name of await readdir(this.directory).catch(() => [])) {
      if ((await readFile(join(this.directory, name), 'utf8').catch(() => '')) === owner) return Number(name);
    }
    return undefined;
  }

  private async take(id: ContainerId, owner: string): Promise<number> {
    const pool = this.pool ?? (await systemPool());
    const blocks = Math.floor(pool.count / IDS_PER_CONTAINER);
    await ensureDirectory(this.directory);
    // A container that is started again has the files, and the configuration, of its first range.
    const held = await this.held(owner);
    if (held !== undefined) return held;
    // Begins at a place of the container's own, so that freed ranges are not taken again at once.
    const start = createHash('sha256').update(id).digest().readUInt32BE(0) % Math.max(1, blocks);
    for (let index = 0; index < Math.min(blocks, MAX_TRIES); index += 1) {
      const first = pool.firstId + ((start + index) % blocks) * IDS_PER_CONTAINER;
      if (await this.reserve(first, owner)) return first;
    }
    throw new ContainerError('LIMIT_EXCEEDED', 'there is no free range of ids for another user namespace', {
      hint: `give a larger range to "${OWNERS[0]}" in /etc/subuid and /etc/subgid, or remove containers`,
    });
  }

  private async reserve(first: number, owner: string): Promise<boolean> {
    const path = join(this.directory, String(first));
    for (;;) {
      try {
        await writeFile(path, owner, { flag: 'wx', mode: 0o600 });
        return true;
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
      }
      const holder = await readFile(path, 'utf8').catch(() => '');
      if (holder === owner) return true;
      // Empty: made this instant. A holder whose directory is gone was removed by something that died meanwhile.
      const lives = holder === '' || (await stat(holder).catch(() => undefined)) !== undefined;
      if (lives) return false;
      await rm(path, { force: true });
    }
  }
}

async function systemPool(): Promise<IdPool> {
  const [subuid, subgid] = await Promise.all(
    ['/etc/subuid', '/etc/subgid'].map((path) => readFile(path, 'utf8').catch(() => '')),
  );
  return choosePool(subuid ?? '', subgid ?? '');
}
