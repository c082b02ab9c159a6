// What a Docker Engine does not keep of a container: host names set while it ran, and who ended it.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId, ExitedBy } from '@heptad/core';
import { z } from 'zod';
import { ensureDirectory, readJson, removeTree, writeJsonAtomic } from '../system/files.ts';

const schema = z.object({
  hosts: z.record(z.string(), z.string()).exactOptional(),
  endedBy: z.enum(['stop', 'kill', 'unhealthy']).exactOptional(),
  signal: z.number().exactOptional(),
});

/** Notes on one container. */
export interface ContainerNote {
  /** Extra lines of /etc/hosts, to be written again after each start. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** Who was about to end it. */
  readonly endedBy?: 'stop' | 'kill' | 'unhealthy';
  /** The signal that was sent for it. */
  readonly signal?: number;
}

/** Notes on containers, a file each. */
export class ContainerNotes {
  private readonly directory: string;

  constructor(home: string) {
    this.directory = join(home, 'notes');
  }

  /** What is noted; an unreadable note says nothing. */
  async read(id: ContainerId): Promise<ContainerNote> {
    const parsed = schema.safeParse(await readJson(this.pathOf(id)).catch(() => undefined));
    return parsed.success ? parsed.data : {};
  }

  /** Adds to the note. */
  async write(id: ContainerId, note: ContainerNote): Promise<void> {
    await ensureDirectory(this.directory);
    await writeJsonAtomic(this.pathOf(id), { ...(await this.read(id)), ...note }, { durable: false });
  }

  /** Forgets who ended it, because it lives again. */
  async revive(id: ContainerId): Promise<void> {
    const { hosts } = await this.read(id);
    if (hosts === undefined) await this.forget(id);
    else await writeJsonAtomic(this.pathOf(id), { hosts }, { durable: false });
  }

  /** Forgets a removed container. */
  async forget(id: ContainerId): Promise<void> {
    await removeTree(this.pathOf(id));
  }

  /** Forgets all but these. */
  async sweep(known: ReadonlySet<ContainerId>): Promise<void> {
    for (const file of await readdir(this.directory).catch(() => [])) {
      const id = file.replace(/\.json$/, '');
      if (!known.has(id)) await this.forget(id);
    }
  }

  /** Who ended a container that exited with this code. */
  async endedBy(id: ContainerId, exitCode: number): Promise<ExitedBy> {
    const { endedBy, signal } = await this.read(id);
    // A signal that was survived did not end it.
    if (endedBy === 'kill' && signal !== undefined && exitCode !== 128 + signal) return 'itself';
    return endedBy ?? 'itself';
  }

  private pathOf(id: ContainerId): string {
    return join(this.directory, `${id}.json`);
  }
}
