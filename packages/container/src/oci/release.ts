// Takes a container apart: processes, runtime state, cgroups, network, mounts; each part whatever the others say.

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { leaveNetworks } from '../network/leave.ts';
import { readTextIfAny } from '../system/files.ts';
import { identify, signalProcess } from '../system/processes.ts';
import { type AssemblyOptions, CGROUP_PARENT } from './bundle.ts';
import { cgroupDirectories, cgroupPids, containerCgroup, removeCgroup } from './cgroup.ts';
import { removeImageVolumes } from './image-volumes.ts';
import { unmountMappedRoot } from './mapped-root.ts';
import { unmountBelow } from './mounts.ts';
import { containerPaths } from './paths.ts';
import { endProcessesOf } from './stray-processes.ts';

// conmon ends within milliseconds of its container.
const CONMON_EXIT_MS = 2_000;
// A killed process leaves its cgroup a moment after the signal; a second is a process stuck in the kernel.
const MAX_CGROUP_TRIES = 100;

/** The counterpart of {@link Assembler}. Everything is found by the container's id, so it works after any crash. */
export class Releaser {
  private readonly options: AssemblyOptions;
  private readonly exits: string;

  constructor(options: AssemblyOptions) {
    this.options = options;
    this.exits = join(options.home, 'exits');
  }

  /** See {@link RuntimeDriver.release}. */
  async release(record: ContainerRecord, because: 'stopped' | 'removed'): Promise<void> {
    const { id } = record;
    const paths = containerPaths(this.options.home, id);
    const failures: unknown[] = [];
    const attempt = async (work: Promise<unknown>): Promise<void> => {
      await work.catch((error: unknown) => failures.push(error));
    };
    // A death in the middle of creating can leave shim, runtime or plugins at work: they must end before we clean up.
    const halfMade =
      record.process === undefined && (record.exit === undefined || record.state === 'restarting');
    if (halfMade) await attempt(endProcessesOf(id, this.options.clock));
    await attempt(this.deleteFromRuntime(id));
    await Promise.all([
      attempt(leaveNetworks([...this.options.networks.values()], id, because)),
      // Secrets stay in memory while the container may be started again.
      attempt(unmountBelow(because === 'removed' ? paths.directory : paths.bundle)),
      attempt(this.endConmon(id)),
      attempt(this.unmap(record, because)),
    ]);
    if (because === 'removed') await attempt(removeImageVolumes(record, this.options.volumes));
    await rm(join(this.exits, id), { force: true });
    if (failures.length === 0) return;
    throw new ContainerError(
      'RUNTIME_FAILED',
      `cannot free all of container "${record.name}": ${failures.map(errorMessage).join('; ')}`,
      { cause: failures[0], hint: 'remove it again later; what is left is named above', retryable: true },
    );
  }

  private async unmap({ id, spec }: ContainerRecord, because: 'stopped' | 'removed'): Promise<void> {
    if (spec.userNamespace === undefined || spec.userNamespace === 'host') return;
    await unmountMappedRoot(id);
    // Its files keep their range as long as there are any.
    if (because === 'removed') await this.options.ids.free(containerPaths(this.options.home, id).directory);
  }

  /** See {@link RuntimeDriver.sweep}. */
  async sweep(known: ReadonlySet<ContainerId>): Promise<string[]> {
    const freed: string[] = [];
    for (const id of await readdir(this.options.runtime.state)) {
      if (!/^[0-9a-f]{64}$/.test(id) || known.has(id)) continue;
      await this.deleteFromRuntime(id);
      freed.push(`container ${id.slice(0, 12)} of ${this.options.runtime.program}`);
    }
    for (const network of this.options.networks.values()) freed.push(...(await network.reconcile(known)));
    for (const id of await readdir(this.exits)) {
      if (!known.has(id)) await rm(join(this.exits, id), { force: true });
    }
    return freed;
  }

  private async deleteFromRuntime(id: ContainerId): Promise<void> {
    const asked = this.options.runtime.delete(id);
    // Judged at the end: whatever the runtime says, what still runs in the container's cgroup is ours to end.
    const failure = await asked.then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    for (const directory of cgroupDirectories(this.options.layout, containerCgroup(CGROUP_PARENT, id))) {
      for (const pid of await cgroupPids(directory)) {
        const left = identify(pid);
        if (left !== undefined) signalProcess(left, 9);
      }
      await this.removeCgroupSoon(directory);
    }
    if (failure !== undefined) throw failure.error;
  }

  private async removeCgroupSoon(directory: string): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await removeCgroup(directory);
        return;
      } catch (error) {
        if (attempt >= MAX_CGROUP_TRIES) throw error;
        await this.options.clock.sleep(10);
      }
    }
  }

  /** conmon ends with its container; one that does not is ended, so that none outlives the record of it. */
  private async endConmon(id: ContainerId): Promise<void> {
    const text = await readTextIfAny(join(containerPaths(this.options.home, id).bundle, 'conmon.pid'));
    const conmon = text === undefined ? undefined : identify(Number(text.trim()));
    if (conmon === undefined) return;
    const commandLine = await readTextIfAny(`/proc/${conmon.pid}/cmdline`);
    // The pid may have been given to another process since; only a conmon of this container is ours to wait for.
    if (commandLine?.includes(id) !== true) return;
    const { clock } = this.options;
    const deadline = clock.monotonicMs() + CONMON_EXIT_MS;
    while (identify(conmon.pid)?.startTime === conmon.startTime) {
      if (clock.monotonicMs() > deadline) signalProcess(conmon, 9);
      await clock.sleep(5);
    }
  }
}
