// The life of one machine as a process of the host: booted, spoken to, ended, found again after our own death.

import { spawn } from 'node:child_process';
import { open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, ContainerId } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { TOOL_PATH } from '../system/command.ts';
import { readJson, readTextIfAny, writeJsonAtomic } from '../system/files.ts';
import { identify, isAlive, type ProcessIdentity, signalProcess } from '../system/processes.ts';
import type { Accelerator } from './accelerator.ts';
import { AGENT_SOCKET, AgentConnection } from './agent-connection.ts';
import { GUEST_FILES, type MachineOptions, machineArguments, QEMU } from './machine.ts';
import { QMP_SOCKET } from './qmp.ts';

const MACHINE_FILE = 'machine.json';
const QEMU_LOG = 'qemu.log';
// Emulated in software on a busy machine, a guest takes several seconds; with KVM half of one.
const BOOT_MS = 90_000;
const HELLO_MS = 10_000;
// A guest that has told its exit code has only to write its disk; later than this it is cut off.
const POWER_OFF_MS = 5_000;
const CONSOLE_MAX_BYTES = 1024 * 1024;

/** What is written down of a machine that was started. */
export interface MachineFacts extends ProcessIdentity {
  readonly accelerator: Accelerator;
  readonly memoryBytes: number;
  readonly cpus: number;
}

const machineSchema: z.ZodType<MachineFacts> = z.object({
  pid: z.number().int().positive(),
  startTime: z.string(),
  accelerator: z.enum(['kvm', 'tcg']),
  memoryBytes: z.number(),
  cpus: z.number(),
});

/** The machines of a runtime, each in its container's directory. */
export class Machines {
  private readonly clock: Clock;
  private readonly agents = new Map<ContainerId, Promise<AgentConnection>>();
  private readonly listeners = new Set<(id: ContainerId) => void>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Starts QEMU in `directory` and waits for the guest's agent. Ends it again when that fails. */
  async boot(
    id: ContainerId,
    directory: string,
    options: MachineOptions,
    namespace?: string,
  ): Promise<ProcessIdentity> {
    await Promise.all(
      [AGENT_SOCKET, QMP_SOCKET, GUEST_FILES.status, GUEST_FILES.console].map((name) =>
        rm(join(directory, name), { force: true }),
      ),
    );
    const machine = await this.spawn(directory, options, namespace);
    const { accelerator, memoryBytes, cpus } = options;
    await writeJsonAtomic(
      join(directory, MACHINE_FILE),
      { ...machine, accelerator, memoryBytes, cpus },
      { durable: false },
    );
    try {
      await this.connect(id, directory, machine, true);
      return machine;
    } catch (error) {
      signalProcess(machine, 9);
      throw await bootError(directory, error);
    }
  }

  /** The line to a running machine's agent. */
  async agent(id: ContainerId, directory: string, machine: ProcessIdentity): Promise<AgentConnection> {
    const known = await this.agents.get(id)?.catch(() => undefined);
    if (known?.isOpen === true) return known;
    return await this.connect(id, directory, machine, false);
  }

  /** Whether a line is open, so that the machine's end will be noticed at once. */
  isConnected(id: ContainerId): boolean {
    return this.agents.has(id);
  }

  /** Ends the machine: waits for one that is powering off, and cuts off one that does not. */
  async end(id: ContainerId, directory: string, graceMs: number = POWER_OFF_MS): Promise<void> {
    const facts = await this.facts(directory);
    if (facts !== undefined && (await isMachineOf(facts, id))) {
      const deadline = this.clock.monotonicMs() + graceMs;
      while (isAlive(facts)) {
        if (this.clock.monotonicMs() >= deadline) signalProcess(facts, 9);
        await this.clock.sleep(5);
      }
    }
    const agent = await this.agents.get(id)?.catch(() => undefined);
    this.agents.delete(id);
    agent?.close();
  }

  /** Writes the exit code for a guest that cannot tell its own any more, and cuts it off. */
  async cutOff(directory: string, machine: ProcessIdentity): Promise<void> {
    await writeFile(join(directory, GUEST_FILES.status), 'exit 137 0\n', { mode: 0o600 });
    signalProcess(machine, 9);
  }

  /** What is known of the machine that was last started in `directory`. */
  async facts(directory: string): Promise<MachineFacts | undefined> {
    const parsed = machineSchema.safeParse(
      await readJson(join(directory, MACHINE_FILE)).catch(() => undefined),
    );
    return parsed.success ? parsed.data : undefined;
  }

  /** Keeps what the guest's kernel says from filling the disk. */
  async boundConsole(directory: string): Promise<void> {
    for (const name of [GUEST_FILES.console, GUEST_FILES.status]) {
      const path = join(directory, name);
      const size = await stat(path).then(
        (info) => info.size,
        () => 0,
      );
      // QEMU appends, so that it goes on at the new end.
      if (size > CONSOLE_MAX_BYTES) await truncate(path, 0);
    }
  }

  /** Tells `listener` the id of a machine whose line broke, which most often means that it ended. */
  onEnd(listener: (id: ContainerId) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Hangs up on all machines; they run on. */
  async close(): Promise<void> {
    const agents = [...this.agents.values()];
    this.agents.clear();
    for (const agent of agents) (await agent.catch(() => undefined))?.close();
  }

  private async connect(
    id: ContainerId,
    directory: string,
    machine: ProcessIdentity,
    isBooting: boolean,
  ): Promise<AgentConnection> {
    const pending = AgentConnection.open({
      directory,
      clock: this.clock,
      helloMs: isBooting ? BOOT_MS : HELLO_MS,
      isBooting,
      isAlive: () => isAlive(machine),
      onClose: () => {
        if (this.agents.get(id) === pending) this.agents.delete(id);
        this.announceEnd(id, machine);
      },
    });
    this.agents.set(id, pending);
    try {
      return await pending;
    } catch (error) {
      if (this.agents.get(id) === pending) this.agents.delete(id);
      throw error;
    }
  }

  /** The line breaks an instant before the process is gone. */
  private announceEnd(id: ContainerId, machine: ProcessIdentity): void {
    const tell = (): void => {
      for (const listener of this.listeners) listener(id);
    };
    tell();
    if (isAlive(machine)) this.clock.timer(20, tell, { unref: true });
  }

  private async spawn(
    directory: string,
    options: MachineOptions,
    namespace: string | undefined,
  ): Promise<ProcessIdentity> {
    const args = machineArguments(options);
    const [file = QEMU, ...rest] =
      namespace === undefined ? [QEMU, ...args] : ['nsenter', `--net=${namespace}`, QEMU, ...args];
    const log = await open(join(directory, QEMU_LOG), 'w', 0o600);
    try {
      const child = spawn(file, rest, {
        cwd: directory,
        env: { PATH: TOOL_PATH },
        stdio: ['ignore', log.fd, log.fd],
        // Its own session: it outlives us, and signals to our group are not for it.
        detached: true,
      });
      const failed = new Promise<never>((_, reject) => child.once('error', reject));
      failed.catch(() => undefined);
      child.unref();
      if (child.pid === undefined) await failed;
      const machine = identify(child.pid ?? 0);
      if (machine !== undefined) return machine;
      throw new ContainerError(
        'RUNTIME_FAILED',
        `QEMU ended at once: ${(await readTextIfAny(join(directory, QEMU_LOG)))?.trim()}`,
      );
    } finally {
      await log.close();
    }
  }
}

/** A pid may have been given to another process while nobody looked; the container's id is in QEMU's name. */
async function isMachineOf(facts: MachineFacts, id: ContainerId): Promise<boolean> {
  return isAlive(facts) && ((await readTextIfAny(`/proc/${facts.pid}/cmdline`))?.includes(id) ?? false);
}

async function bootError(directory: string, cause: unknown): Promise<ContainerError> {
  const files = await Promise.all(
    [GUEST_FILES.status, QEMU_LOG, GUEST_FILES.console].map((name) => readTextIfAny(join(directory, name))),
  );
  const said = files
    .map((text) => text?.trim().split('\n').slice(-3).join(' / '))
    .find((text) => text !== undefined && text !== '');
  return new ContainerError(
    'RUNTIME_FAILED',
    `the virtual machine did not boot: ${said ?? errorMessage(cause)}`,
    {
      cause,
      hint: 'limits.memoryBytes may be too small for the program; qemu.log and console.log in its directory say more',
    },
  );
}
