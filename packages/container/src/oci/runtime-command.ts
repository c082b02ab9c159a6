// Calls the OCI runtime (runc or crun) for one container and turns its words into errors.

import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, ContainerId } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import { type ContainerRecord, publicState } from '../lifecycle/record.ts';
import { type CommandOptions, run } from '../system/command.ts';
import { isAlive } from '../system/processes.ts';
import { runtimeError } from './conmon.ts';
import { containerPaths } from './paths.ts';

// The init opens its end within a millisecond; one that does not is stuck, and `start` itself would wait for ever.
const START_TIMEOUT_MS = 10_000;

/** The runtime of one home directory. */
export class RuntimeCommand {
  readonly program: string;
  /** Where the runtime keeps its own state. */
  readonly state: string;
  private readonly home: string;
  private readonly clock: Clock;
  private resolved: Promise<string> | undefined;

  constructor(program: string, home: string, clock: Clock) {
    this.program = program;
    this.home = home;
    this.state = join(home, 'state');
    this.clock = clock;
  }

  /** Arguments that come before the verb. */
  get globalArguments(): readonly string[] {
    return ['--root', this.state];
  }

  /** The absolute path, which conmon wants. */
  path(): Promise<string> {
    this.resolved ??= run('sh', ['-c', 'command -v -- "$1"', 'sh', this.program]).then(({ stdout }) =>
      stdout.trim(),
    );
    return this.resolved;
  }

  /** Runs a verb. Throws `RUNTIME_FAILED` with what the runtime said. */
  async call(
    record: ContainerRecord,
    verb: string,
    args: readonly string[],
    options: CommandOptions = {},
  ): Promise<void> {
    const log = join(containerPaths(this.home, record.id).bundle, 'runtime.log');
    const all = [...this.globalArguments, '--log', log, '--log-format', 'json', verb, ...args, record.id];
    const { exitCode, stderr } = await run(this.program, all, options);
    if (exitCode === 0) return;
    const said = (await runtimeError(log)) ?? stderr.trim();
    throw new ContainerError(
      'RUNTIME_FAILED',
      `cannot ${verb} container "${record.name}", which is ${publicState(record)}: ${said}`,
      { details: { runtime: this.program } },
    );
  }

  /** Deletes a container by force; one that the runtime does not know is fine. */
  async delete(id: ContainerId): Promise<void> {
    const { exitCode, stderr } = await run(this.program, [...this.globalArguments, 'delete', '--force', id]);
    if (exitCode === 0 || /does not exist/.test(stderr)) return;
    throw new ContainerError(
      'RUNTIME_FAILED',
      `${this.program} delete ${id.slice(0, 12)} failed: ${stderr.trim()}`,
    );
  }

  /**
   * Lets a created container run. runc's own `start` starts a Go program only to read one byte from the pipe at which
   * the container's init waits (`libcontainer/container_linux.go`, `handleFifoResult`): we read it ourselves, which
   * takes a fifth of the time, and remove the pipe as it does. A runtime without that pipe is asked to do it.
   */
  async start(record: ContainerRecord): Promise<void> {
    const path = join(this.state, record.id, 'exec.fifo');
    let fifo: FileHandle;
    try {
      // Non-blocking: an init that died must not leave a thread of ours waiting for it.
      fifo = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await this.call(record, 'start', []);
      return;
    }
    try {
      await this.readStartByte(record, fifo);
    } finally {
      await fifo.close();
    }
    await unlink(path);
  }

  private async readStartByte(record: ContainerRecord, fifo: FileHandle): Promise<void> {
    const deadline = this.clock.monotonicMs() + START_TIMEOUT_MS;
    const buffer = Buffer.alloc(1);
    for (;;) {
      // Zero bytes: nobody has opened the other end. EAGAIN: opened, not yet written.
      const bytes = await fifo.read(buffer, 0, 1, null).then(
        ({ bytesRead }) => bytesRead,
        (error: unknown) => {
          if (errnoOf(error) === 'EAGAIN') return 0;
          throw error;
        },
      );
      if (bytes > 0) return;
      const why = record.process === undefined || !isAlive(record.process) ? 'its init has ended' : undefined;
      if (why !== undefined || this.clock.monotonicMs() > deadline) {
        throw new ContainerError(
          'RUNTIME_FAILED',
          `cannot start container "${record.name}": ${why ?? 'its init does not answer'}`,
        );
      }
      await this.clock.sleep(1);
    }
  }
}
