// Containers as plain processes, for machines where nothing better is allowed: one lifecycle, no walls.

import { spawn } from 'node:child_process';
import { type FSWatcher, watch } from 'node:fs';
import { open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type {
  ContainerId,
  ContainerProcess,
  ContainerSpec,
  ContainerStats,
  ExecOptions,
  ExecSession,
  ResourceLimits,
  RuntimeCapabilities,
  RuntimeProbe,
} from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { Observation, PreparedContainer, RuntimeDriver } from '../lifecycle/driver.ts';
import { execSession } from '../lifecycle/exec-session.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { logBounds } from '../lifecycle/rotate-log.ts';
import { ensureDirectory, readTextIfAny } from '../system/files.ts';
import { describeProcesses } from '../system/process-table.ts';
import { identify, type ProcessIdentity, signalProcess } from '../system/processes.ts';
import { LoopbackAddresses } from './addresses.ts';
import { LogCollector } from './log-collector.ts';
import { membersOf, signalMembers } from './members.ts';
import { makePlan, type PlanOptions, readPlan } from './plan.ts';
import { translate, translateCommand } from './translate.ts';
import { WRAPPER_SCRIPT } from './wrapper.ts';

const CAPABILITIES: RuntimeCapabilities = {
  isolation: 'process',
  pause: true,
  exec: true,
  limits: false,
  networks: false,
  images: true,
  attach: true,
  stdin: false,
  tty: false,
  update: false,
  mounts: true,
  copy: false,
  diff: false,
  commit: false,
  top: true,
  devices: false,
  userNamespaces: false,
  init: false,
};
const CLOCK_TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;
const KILL_ROUNDS = 200;

/** See {@link RuntimeDriver}. */
export class ProcessDriver implements RuntimeDriver {
  readonly name = 'process';
  readonly capabilities: RuntimeCapabilities = CAPABILITIES;
  private readonly options: PlanOptions;
  private readonly addresses: LoopbackAddresses;
  private readonly exits: string;
  private readonly collectors = new Map<
    ContainerId,
    { collector: LogCollector; watcher: FSWatcher | undefined }
  >();

  private constructor(options: PlanOptions) {
    this.options = options;
    this.exits = join(options.home, 'exits');
    this.addresses = new LoopbackAddresses(join(options.home, 'addresses'));
  }

  /** Makes the driver's directories. */
  static async open(options: PlanOptions): Promise<ProcessDriver> {
    const driver = new ProcessDriver(options);
    await ensureDirectory(driver.exits);
    return driver;
  }

  async probe(): Promise<RuntimeProbe> {
    return {
      ok: true,
      version: `plain processes, Node ${process.version}`,
      capabilities: CAPABILITIES,
      reasons: [
        'processes are not isolated: they see the files, processes and network of this machine, run as this user, and CPU, memory and process limits are not enforced; the oci runtime isolates (root, and: apt-get install runc conmon containernetworking-plugins golang-github-containers-common)',
      ],
    };
  }

  async prepare(record: ContainerRecord, spec: ContainerSpec): Promise<PreparedContainer> {
    const address = await this.addresses.lease(record.id);
    const { imageDigest, ...settled } = await makePlan(this.options, record, spec, address);
    return { ...settled, ...(imageDigest === undefined ? {} : { imageDigest }), address };
  }

  async revive(record: ContainerRecord): Promise<PreparedContainer> {
    const address = await this.addresses.lease(record.id);
    await rm(join(this.directory(record.id), 'exit'), { force: true });
    return { stopSignal: record.stopSignal, address };
  }

  async start(record: ContainerRecord): Promise<ProcessIdentity> {
    const directory = this.directory(record.id);
    const plan = await readPlan(this.options.home, record);
    const outputs = await Promise.all(
      ['stdout', 'stderr'].map((name) => open(join(directory, `${name}.raw`), 'a', 0o600)),
    );
    try {
      const child = spawn(
        '/bin/sh',
        [
          '-c',
          WRAPPER_SCRIPT,
          'heptad',
          join(directory, 'exit'),
          join(this.exits, record.id),
          ...plan.command,
        ],
        {
          cwd: plan.workingDirectory,
          env: plan.environment,
          // Its own session: neither our death nor a signal to our group touches it.
          detached: true,
          stdio: ['ignore', outputs[0]?.fd, outputs[1]?.fd, 'pipe'],
        },
      );
      const pid = await firstLine(child.stdio[3] as Readable, child);
      child.unref();
      this.collector(record);
      // A command that ended already leaves its exit code; any identity that is not alive then stands for it.
      return identify(pid) ?? { pid, startTime: '0' };
    } catch (cause) {
      throw new ContainerError(
        'RUNTIME_FAILED',
        `cannot start container "${record.name}" in ${plan.workingDirectory}: ${String(cause)}`,
        { cause },
      );
    } finally {
      await Promise.all(outputs.map((file) => file.close()));
    }
  }

  async signal(record: ContainerRecord, signal: number, all = false): Promise<void> {
    if (!all) {
      if (record.process !== undefined) signalProcess(record.process, signal);
      return;
    }
    // The wrapper, which leads the session, stays: it is the one that tells the exit code.
    const members = (await membersOf(record.id)).filter(({ pid, session }) => pid !== session);
    for (const member of members) signalProcess(member, signal);
  }

  async pause(record: ContainerRecord): Promise<void> {
    await signalMembers(record.id, 19);
  }

  async resume(record: ContainerRecord): Promise<void> {
    await signalMembers(record.id, 18);
  }

  update(record: ContainerRecord, _limits: ResourceLimits): Promise<void> {
    return Promise.reject(notSupported('change limits of', record));
  }

  setHosts(record: ContainerRecord): Promise<void> {
    return Promise.reject(notSupported('set hosts of', record));
  }

  async exec(record: ContainerRecord, options: ExecOptions, id: string): Promise<ExecSession> {
    if (options.user !== undefined) throw notSupported('choose a user in', record);
    const plan = await readPlan(this.options.home, record);
    const [program = '', ...args] = translateCommand(options.command, plan.mappings, this.options.nodeBinary);
    const child = spawn(program, args, {
      cwd:
        options.workingDirectory === undefined
          ? plan.workingDirectory
          : translate(options.workingDirectory, plan.mappings),
      env: { ...plan.environment, ...options.environment },
      detached: true,
      stdio: options.detach === true ? 'ignore' : 'pipe',
    });
    if (options.detach === true) child.unref();
    return execSession(
      {
        id,
        child,
        pid: () => child.pid,
        clock: this.options.clock,
        killTree: async () => {
          if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
        },
        cleanUp: async () => undefined,
        exitCode: (code, signal) => code ?? (signal === null ? 255 : 128 + 9),
        startError: (cause) =>
          new ContainerError(
            'EXEC_FAILED',
            `cannot exec ${program} in container "${record.name}": ${cause.message}`,
            { cause },
          ),
      },
      options,
    );
  }

  async top(record: ContainerRecord): Promise<ContainerProcess[]> {
    const members = (await membersOf(record.id)).filter(({ pid, session }) => pid !== session);
    const pids = members.map(({ pid }) => pid);
    return await describeProcesses(pids, record.process?.pid);
  }

  async stats(record: ContainerRecord): Promise<ContainerStats> {
    const members = (await membersOf(record.id)).filter(({ pid, session }) => pid !== session);
    const sum = (figure: (member: (typeof members)[number]) => number): number =>
      members.reduce((total, member) => total + figure(member), 0);
    const io = await Promise.all(members.map(({ pid }) => readTextIfAny(`/proc/${pid}/io`)));
    const bytes = (name: string): number =>
      io.reduce(
        (total, text) => total + Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text ?? '')?.[1] ?? 0),
        0,
      );
    return {
      at: this.options.clock.now(),
      cpuUsageNs: sum(({ cpuTicks }) => cpuTicks) * (1e9 / CLOCK_TICKS_PER_SECOND),
      memoryBytes: sum(({ residentPages }) => residentPages) * PAGE_BYTES,
      pids: sum(({ threads }) => threads),
      // Traffic of one process among many on one network cannot be told apart.
      networkReceivedBytes: 0,
      networkSentBytes: 0,
      blockReadBytes: bytes('read_bytes'),
      blockWrittenBytes: bytes('write_bytes'),
    };
  }

  async observe(record: ContainerRecord): Promise<Observation> {
    const path = join(this.directory(record.id), 'exit');
    const text = await readTextIfAny(path);
    const exitCode = Number(text?.trim());
    if (text === undefined || text.trim() === '' || !Number.isInteger(exitCode)) return { alive: true };
    return { alive: false, exitCode, oomKilled: false, finishedAt: Math.round((await stat(path)).mtimeMs) };
  }

  async release(record: ContainerRecord, because: 'stopped' | 'removed'): Promise<void> {
    await this.killMembers(record.id);
    await this.collector(record).collect(true);
    this.collectors.get(record.id)?.watcher?.close();
    this.collectors.delete(record.id);
    await rm(join(this.exits, record.id), { force: true });
    if (because === 'removed') await this.addresses.release(record.id);
  }

  async tend(record: ContainerRecord): Promise<void> {
    await this.collector(record).collect();
  }

  async sweep(known: ReadonlySet<ContainerId>): Promise<string[]> {
    for (const id of await readdir(this.exits))
      if (!known.has(id)) await rm(join(this.exits, id), { force: true });
    return (await this.addresses.reconcile(known)).map((address) => `address ${address}`);
  }

  watchExits(listener: (id: ContainerId) => void): AsyncDisposable {
    const watcher = watch(this.exits, { persistent: false }, (_event, name) => {
      if (name !== null && /^[0-9a-f]{64}$/.test(name)) listener(name);
    });
    watcher.on('error', () => watcher.close());
    const { collectors } = this;
    return {
      async [Symbol.asyncDispose]() {
        watcher.close();
        for (const { watcher: each } of collectors.values()) each?.close();
      },
    };
  }

  private collector(record: ContainerRecord): LogCollector {
    const known = this.collectors.get(record.id);
    if (known !== undefined) return known.collector;
    const directory = this.directory(record.id);
    const collector = new LogCollector(directory, this.options.clock, logBounds(record.spec));
    let watcher: FSWatcher | undefined;
    try {
      watcher = watch(directory, { persistent: false }, (_event, name) => {
        if (name === 'stdout.raw' || name === 'stderr.raw') collector.collect().catch(() => undefined);
      });
      watcher.on('error', () => watcher?.close());
    } catch {
      // Too many watches: the lifecycle's tending collects once a second.
    }
    this.collectors.set(record.id, { collector, watcher });
    return collector;
  }

  private async killMembers(id: ContainerId): Promise<void> {
    for (let round = 0; round < KILL_ROUNDS; round += 1) {
      if ((await signalMembers(id, 9)) === 0) return;
      await this.options.clock.sleep(10);
    }
    throw new ContainerError('CONTAINER_STUCK', `processes of container ${id.slice(0, 12)} do not end`, {
      retryable: true,
    });
  }

  private directory(id: ContainerId): string {
    return join(this.options.home, 'containers', id);
  }
}

function notSupported(what: string, record: ContainerRecord): ContainerError {
  return new ContainerError(
    'NOT_SUPPORTED',
    `cannot ${what} container "${record.name}": the process runtime has no such ability`,
    {
      hint: 'the oci runtime has it',
      details: { driver: 'oci' },
    },
  );
}

function firstLine(stream: Readable, child: ReturnType<typeof spawn>): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let text = '';
  child.once('error', reject);
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    if (text.includes('\n')) resolve(Number(text.trim()));
  });
  stream.once('end', () => reject(new Error('the shell ended at once')));
  return promise;
}
