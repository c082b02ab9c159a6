// What a Docker Engine does not keep of a container: host names set while it ran, and who ended it.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId, ExitedBy, TerminalSize } from '@heptad/core';
import { z } from 'zod';
import { ensureDirectory, readJson, removeTree, writeJsonAtomic } from '../system/files.ts';

const schema = z.object({
  hosts: z.record(z.string(), z.string()).exactOptional(),
  endedBy: z.enum(['stop', 'kill', 'unhealthy']).exactOptional(),
  signal: z.number().exactOptional(),
  restarts: z.number().exactOptional(),
  size: z.object({ columns: z.number(), rows: z.number() }).exactOptional(),
});

/** Notes on one container. */
export interface ContainerNote {
  /** Extra lines of /etc/hosts, to be written again after each start. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** Who was about to end it. */
  readonly endedBy?: 'stop' | 'kill' | 'unhealthy';
  /** Restarts by health checks, which the engine does not count. */
  readonly restarts?: number;
  /** The size of its terminal, given before it was started. */
  readonly size?: TerminalSize;
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

  /** Adds to the note, or replaces the `whole` of it. */
  async write(id: ContainerId, note: ContainerNote, whole = false): Promise<void> {
    await ensureDirectory(this.directory);
    const before = whole ? {} : await this.read(id);
    await writeJsonAtomic(this.pathOf(id), { ...before, ...note }, { durable: false });
  }

  /** Forgets who ended it, because it lives again; `restarts` of health checks are counted on. */
  async revive(id: ContainerId, restarts = 0): Promise<void> {
    const { hosts, size } = await this.read(id);
    const kept = {
      ...(hosts === undefined ? {} : { hosts }),
      ...(size === undefined ? {} : { size }),
      ...(restarts === 0 ? {} : { restarts }),
    };
    if (Object.keys(kept).length === 0) await this.forget(id);
    else await this.write(id, kept, true);
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
