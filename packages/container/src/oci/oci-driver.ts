// Containers by an OCI runtime under conmon: overlayfs root, cgroup, namespaces, network; every part found again by id.

import { type FSWatcher, watch } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import type {
  Clock,
  ContainerId,
  ContainerSpec,
  ContainerStats,
  ExecOptions,
  ExecSession,
  ResourceLimits,
  RuntimeCapabilities,
  RuntimeProbe,
} from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ImageStore } from '../image/image-store.ts';
import { hostArchitecture } from '../image/manifest.ts';
import type { Observation, PreparedContainer, RuntimeDriver } from '../lifecycle/driver.ts';
import { type ContainerRecord, publicState } from '../lifecycle/record.ts';
import { logBounds, rotateLog } from '../lifecycle/rotate-log.ts';
import type { NetworkBackend } from '../network/backend.ts';
import { type CommandOptions, run } from '../system/command.ts';
import { ensureDirectory, readTextIfAny } from '../system/files.ts';
import { identify, type ProcessIdentity, signalProcess } from '../system/processes.ts';
import { effectiveCapabilities } from './capabilities.ts';
import { type CgroupLayout, cgroupDirectories, cgroupPids, containerCgroup, removeCgroup } from './cgroup.ts';
import { oomKills, parseNetworkUsage, readUsage } from './cgroup-stats.ts';
import { createWithConmon, reopenLog, runtimeError } from './conmon.ts';
import { type ExecContext, ociExec } from './exec.ts';
import { generateSpec, limitResources } from './generate-spec.ts';
import { hostMounts, hostsText, rewriteInPlace, writeIdentityFiles, writeSecrets } from './host-files.ts';
import { unmountBelow } from './mounts.ts';
import type { OciProbe } from './probe.ts';
import { loadSeccompProfile, resolveSeccomp, type SeccompProfile } from './seccomp.ts';
import { endProcessesOf } from './stray-processes.ts';
import { resolveUser } from './user.ts';

/** What the driver works with. */
export interface OciDriverOptions {
  readonly home: string;
  readonly images: ImageStore;
  readonly volumes: string;
  readonly networks: ReadonlyMap<string, NetworkBackend>;
  /** Used when a spec names no network: the name of one of `networks`, `none` or `host`. */
  readonly defaultNetwork: string;
  readonly clock: Clock;
  readonly probe: OciProbe & { readonly runtime: string; readonly layout: CgroupLayout };
}

const CAPABILITIES: RuntimeCapabilities = {
  isolation: 'container',
  pause: true,
  exec: true,
  limits: true,
  networks: true,
  images: true,
  attach: false,
  update: true,
};
/** Parent of all our cgroups. At the root of the hierarchies, so that stopping our own service does not stop containers. */
const CGROUP_PARENT = 'heptad';
// conmon ends within milliseconds of its container.
const CONMON_EXIT_MS = 2_000;

/** See {@link RuntimeDriver}. */
export class OciDriver implements RuntimeDriver {
  readonly name = 'oci';
  readonly capabilities: RuntimeCapabilities = CAPABILITIES;
  private readonly options: OciDriverOptions;
  private readonly exits: string;
  private readonly state: string;
  private seccomp: Promise<SeccompProfile> | undefined;

  private constructor(options: OciDriverOptions) {
    this.options = options;
    this.exits = join(options.home, 'exits');
    this.state = join(options.home, 'state');
  }

  /** Makes the driver's directories. */
  static async open(options: OciDriverOptions): Promise<OciDriver> {
    const driver = new OciDriver(options);
    await ensureDirectory(driver.exits);
    await ensureDirectory(driver.state);
    return driver;
  }

  async probe(): Promise<RuntimeProbe> {
    const { probe, networks } = this.options;
    const reasons = [...probe.reasons];
    for (const network of networks.values()) reasons.push(...(await network.probe()));
    return {
      ok: probe.ok,
      version: `${probe.runtime} ${probe.version}, conmon ${probe.conmonVersion}`,
      capabilities: CAPABILITIES,
      reasons,
    };
  }

  async prepare(record: ContainerRecord, spec: ContainerSpec): Promise<PreparedContainer> {
    const { image, top } = await this.options.images.unpack(spec.image);
    const paths = this.paths(record.id);
    await mkdir(paths.rootfs, { recursive: true, mode: 0o700 });
    await mkdir(paths.upper, { mode: 0o755 });
    const { pid, address } = await this.assemble(record, top, (network) =>
      this.writeBundle(record, spec, image.config.config, network),
    );
    return {
      imageDigest: image.digest,
      stopSignal: spec.stopSignal ?? image.config.config.StopSignal ?? 'SIGTERM',
      process: requireInit(record, pid),
      ...(address === undefined ? {} : { address }),
    };
  }

  async revive(record: ContainerRecord): Promise<PreparedContainer> {
    const paths = this.paths(record.id);
    const { top } = await this.options.images.unpack(record.imageDigest ?? record.spec.image);
    if (
      (record.spec.secrets?.length ?? 0) > 0 &&
      (await stat(join(paths.secrets, '0')).catch(() => undefined)) === undefined
    ) {
      throw new ContainerError(
        'NOT_SUPPORTED',
        `cannot start container "${record.name}" again: its secrets were in memory, and the machine was restarted`,
        {
          hint: 'create it anew',
        },
      );
    }
    await Promise.all([paths.persist, paths.work].map((path) => rm(path, { recursive: true, force: true })));
    // The bundle stays as it was written: same command, same environment, same namespace name.
    const { pid, address } = await this.assemble(record, top, async () => undefined);
    return {
      stopSignal: record.stopSignal,
      process: requireInit(record, pid),
      ...(address === undefined ? {} : { address }),
    };
  }

  /** Mounts, connects and creates; the runtime joins the namespace while the network is still being plumbed into it. */
  private async assemble(
    record: ContainerRecord,
    top: string,
    writeBundle: (network: string) => Promise<void>,
  ): Promise<{ pid: number; address: string | undefined }> {
    const { spec } = record;
    const network = this.network(spec);
    const paths = this.paths(record.id);
    await Promise.all([paths.work, paths.persist].map((path) => mkdir(path, { mode: 0o700 })));
    const [namespace] = await settle([
      typeof network === 'string' ? Promise.resolve(network) : network.prepare(record.id),
      this.options.images.snapshots.mount(top, paths.upper, paths.work, paths.rootfs),
    ]);
    const create = async (): Promise<number> => {
      await writeBundle(namespace);
      return await this.createInit(record);
    };
    const [pid, address] = await settle([
      create(),
      typeof network === 'string'
        ? Promise.resolve(undefined)
        : network.connect({ id: record.id, ports: spec.ports ?? [] }),
    ]);
    if (address !== undefined) await this.writeHosts({ ...record, address }, spec.hosts ?? {});
    return { pid, address };
  }

  async start(record: ContainerRecord): Promise<ProcessIdentity> {
    await this.runtime(record, 'start', ['start', record.id]);
    if (record.process !== undefined) return record.process;
    throw new ContainerError('RUNTIME_FAILED', `cannot start container "${record.name}": it has no init`);
  }

  async signal(record: ContainerRecord, signal: number): Promise<void> {
    // False means it has just ended, which is noticed by itself.
    if (record.process !== undefined) signalProcess(record.process, signal);
  }

  async pause(record: ContainerRecord): Promise<void> {
    await this.runtime(record, 'pause', ['pause', record.id]);
  }

  async resume(record: ContainerRecord): Promise<void> {
    await this.runtime(record, 'resume', ['resume', record.id]);
  }

  async update(record: ContainerRecord, limits: ResourceLimits): Promise<void> {
    await this.runtime(record, 'update', ['update', '--resources', '-', record.id], {
      input: JSON.stringify(limitResources(limits)),
    });
  }

  async exec(record: ContainerRecord, options: ExecOptions): Promise<ExecSession> {
    const { rootfs, bundle } = this.paths(record.id);
    const { probe, clock, images } = this.options;
    const context: ExecContext = {
      runtime: probe.runtime,
      runtimeArguments: this.runtimeArguments(),
      layout: probe.layout,
      cgroupsPath: containerCgroup(CGROUP_PARENT, record.id),
      rootfs,
      bundle,
      clock,
      random: images.random,
    };
    return await ociExec(context, record, options);
  }

  async stats(record: ContainerRecord): Promise<ContainerStats> {
    const { layout } = this.options.probe;
    const [usage, network] = await Promise.all([
      readUsage(layout, containerCgroup(CGROUP_PARENT, record.id)),
      readTextIfAny(`/proc/${record.process?.pid}/net/dev`),
    ]);
    const { received, sent } = parseNetworkUsage(network ?? '');
    return { at: this.options.clock.now(), ...usage, networkReceivedBytes: received, networkSentBytes: sent };
  }

  async setHosts(record: ContainerRecord, hosts: Readonly<Record<string, string>>): Promise<void> {
    await this.writeHosts(record, hosts);
  }

  async observe(record: ContainerRecord): Promise<Observation> {
    const { persist, bundle } = this.paths(record.id);
    const path = join(persist, 'exit');
    const text = await readTextIfAny(path);
    const exitCode = Number(text?.trim());
    if (text === undefined || text.trim() === '' || !Number.isInteger(exitCode)) return { alive: true };
    const marks = await Promise.all(
      [join(persist, 'oom'), join(bundle, 'oom')].map((file) => stat(file).catch(() => undefined)),
    );
    const counted = await oomKills(this.options.probe.layout, containerCgroup(CGROUP_PARENT, record.id));
    const finishedAt = Math.round((await stat(path)).mtimeMs);
    return {
      alive: false,
      exitCode,
      oomKilled: counted > 0 || marks.some((mark) => mark !== undefined),
      finishedAt,
    };
  }

  async release(record: ContainerRecord, because: 'stopped' | 'removed'): Promise<void> {
    const failures: unknown[] = [];
    const paths = this.paths(record.id);
    const attempt = async (work: Promise<unknown>): Promise<void> => {
      await work.catch((error: unknown) => failures.push(error));
    };
    // A death in the middle of creating can leave shim, runtime or plugins at work: they must end before we clean up.
    const halfMade =
      record.process === undefined && (record.exit === undefined || record.state === 'restarting');
    if (halfMade) await attempt(endProcessesOf(record.id, this.options.clock));
    await attempt(this.deleteFromRuntime(record.id));
    await Promise.all([
      ...[...this.options.networks.values()].map((network) => attempt(network.detach(record.id))),
      // Secrets stay in memory while the container may be started again.
      attempt(unmountBelow(because === 'removed' ? paths.directory : paths.bundle)),
      attempt(this.endConmon(record.id)),
    ]);
    await rm(join(this.exits, record.id), { force: true });
    if (failures.length === 0) return;
    throw new ContainerError(
      'RUNTIME_FAILED',
      `cannot free all of container "${record.name}": ${failures.map(errorMessage).join('; ')}`,
      {
        cause: failures[0],
        hint: 'remove it again later; what is left is named above',
        retryable: true,
      },
    );
  }

  async tend(record: ContainerRecord): Promise<void> {
    const { log, bundle } = this.paths(record.id);
    if (await rotateLog(log, logBounds(record.spec))) await reopenLog(bundle);
  }

  async sweep(known: ReadonlySet<ContainerId>): Promise<string[]> {
    const freed: string[] = [];
    for (const id of await readdir(this.state)) {
      if (!/^[0-9a-f]{64}$/.test(id) || known.has(id)) continue;
      await this.deleteFromRuntime(id);
      freed.push(`container ${id.slice(0, 12)} of ${this.options.probe.runtime}`);
    }
    for (const network of this.options.networks.values()) freed.push(...(await network.reconcile(known)));
    for (const id of await readdir(this.exits)) {
      if (!known.has(id)) await rm(join(this.exits, id), { force: true });
    }
    return freed;
  }

  watchExits(listener: (id: ContainerId) => void): AsyncDisposable {
    const watcher: FSWatcher = watch(this.exits, { persistent: false }, (_event, name) => {
      if (name !== null && /^[0-9a-f]{64}$/.test(name)) listener(name);
    });
    // The poll of the lifecycle finds exits too, so a watch that breaks only costs a second.
    watcher.on('error', () => watcher.close());
    return {
      async [Symbol.asyncDispose]() {
        watcher.close();
      },
    };
  }

  private network(spec: ContainerSpec): NetworkBackend | 'none' | 'host' {
    const name = spec.network ?? this.options.defaultNetwork;
    const network = name === 'none' || name === 'host' ? name : this.options.networks.get(name);
    if (network === undefined) {
      throw new ContainerError(
        'NETWORK_NOT_FOUND',
        `cannot create container "${spec.name}": there is no network "${name}"`,
        {
          hint: `networks are: ${['none', 'host', ...this.options.networks.keys()].join(', ')}`,
        },
      );
    }
    if (typeof network === 'string' && (spec.ports?.length ?? 0) > 0) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot create container "${spec.name}": ports cannot be published on network "${network}"`,
      );
    }
    return network;
  }

  private async writeBundle(
    record: ContainerRecord,
    spec: ContainerSpec,
    image: Parameters<typeof generateSpec>[0]['image'],
    network: string,
  ): Promise<void> {
    const { id } = record;
    const paths = this.paths(id);
    const user = await resolveUser(paths.rootfs, spec.user ?? image.User ?? '');
    const [identity, secrets, mounts, seccomp, maxOpenFiles] = await settle([
      writeIdentityFiles(
        paths.directory,
        { ...hostnames(record), hosts: spec.hosts ?? {} },
        network === 'host',
      ),
      writeSecrets(paths.secrets, spec.secrets ?? [], user),
      hostMounts(spec, this.options.volumes, paths.rootfs, user),
      this.seccompFor(spec),
      openFilesLimit(),
    ]);
    const config = generateSpec({
      id,
      spec,
      image,
      user,
      rootfs: paths.rootfs,
      seccomp,
      cgroupsPath: containerCgroup(CGROUP_PARENT, id),
      cgroupVersion: this.options.probe.layout.version,
      ...(network === 'none' ? {} : { networkNamespace: network }),
      binds: [...identity, ...mounts, ...secrets],
      maxOpenFiles,
    });
    await writeFile(join(paths.bundle, 'config.json'), JSON.stringify(config), { mode: 0o600 });
  }

  private async createInit(record: ContainerRecord): Promise<number> {
    const paths = this.paths(record.id);
    const bounds = logBounds(record.spec);
    return await createWithConmon({
      conmon: 'conmon',
      runtime: await this.runtimePath(),
      runtimeArguments: this.runtimeArguments(),
      id: record.id,
      name: record.name,
      bundle: paths.bundle,
      exitDirectory: this.exits,
      persistDirectory: paths.persist,
      logPath: paths.log,
      // Above what we rotate at, so that it only ever matters while we are dead.
      logMaxBytes: bounds.maxBytes * (bounds.maxFiles + 1),
      clock: this.options.clock,
    });
  }

  private async writeHosts(record: ContainerRecord, hosts: Readonly<Record<string, string>>): Promise<void> {
    await rewriteInPlace(
      join(this.paths(record.id).directory, 'hosts'),
      hostsText({ ...hostnames(record), address: record.address, hosts }),
    );
  }

  private async seccompFor(spec: ContainerSpec) {
    this.seccomp ??= loadSeccompProfile();
    return resolveSeccomp(await this.seccomp, {
      architecture: hostArchitecture(),
      capabilities: effectiveCapabilities(spec.capabilities),
      kernel: release(),
    });
  }

  private async deleteFromRuntime(id: ContainerId): Promise<void> {
    const { runtime, layout } = this.options.probe;
    const { exitCode, stderr } = await run(runtime, [...this.runtimeArguments(), 'delete', '--force', id]);
    const directories = cgroupDirectories(layout, containerCgroup(CGROUP_PARENT, id));
    // The runtime's word is not enough: whatever still runs in the container's cgroup is ours to end.
    for (const directory of directories) {
      for (const pid of await cgroupPids(directory)) {
        const left = identify(pid);
        if (left !== undefined) signalProcess(left, 9);
      }
      await removeCgroupSoon(directory, this.options.clock);
    }
    if (exitCode !== 0 && !/does not exist/.test(stderr)) {
      throw new ContainerError(
        'RUNTIME_FAILED',
        `${runtime} delete ${id.slice(0, 12)} failed: ${stderr.trim()}`,
      );
    }
  }

  /** conmon ends with its container; one that does not is ended, so that none outlives the record of it. */
  private async endConmon(id: ContainerId): Promise<void> {
    const text = await readTextIfAny(join(this.paths(id).bundle, 'conmon.pid'));
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

  private async runtime(
    record: ContainerRecord,
    verb: string,
    args: readonly string[],
    options: CommandOptions = {},
  ): Promise<void> {
    const log = join(this.paths(record.id).bundle, 'runtime.log');
    const all = [...this.runtimeArguments(), '--log', log, '--log-format', 'json', ...args];
    const { exitCode, stderr } = await run(this.options.probe.runtime, all, options);
    if (exitCode === 0) return;
    const said = (await runtimeError(log)) ?? stderr.trim();
    throw new ContainerError(
      'RUNTIME_FAILED',
      `cannot ${verb} container "${record.name}", which is ${publicState(record)}: ${said}`,
      {
        details: { runtime: this.options.probe.runtime },
      },
    );
  }

  private runtimeArguments(): string[] {
    return ['--root', this.state];
  }

  private resolvedRuntime: Promise<string> | undefined;

  /** conmon wants an absolute path. */
  private runtimePath(): Promise<string> {
    this.resolvedRuntime ??= run('sh', ['-c', 'command -v -- "$1"', 'sh', this.options.probe.runtime]).then(
      ({ stdout }) => stdout.trim(),
    );
    return this.resolvedRuntime;
  }

  private paths(id: ContainerId) {
    const directory = join(this.options.home, 'containers', id);
    const bundle = join(directory, 'bundle');
    return {
      directory,
      bundle,
      rootfs: join(bundle, 'rootfs'),
      upper: join(directory, 'upper'),
      work: join(directory, 'work'),
      persist: join(directory, 'persist'),
      secrets: join(directory, 'secrets'),
      log: join(directory, 'log'),
    };
  }
}

function requireInit(record: ContainerRecord, pid: number): ProcessIdentity {
  const process = identify(pid);
  if (process !== undefined) return process;
  throw new ContainerError(
    'RUNTIME_FAILED',
    `cannot create container "${record.name}": its init ended at once`,
  );
}

function hostnames(record: ContainerRecord): { hostname: string; name: string } {
  return { hostname: record.spec.hostname ?? record.id.slice(0, 12), name: record.name };
}

/** Like Promise.all, but waits for all before it fails, so that a rollback never races with work still under way. */
async function settle<T extends readonly unknown[]>(
  work: { readonly [K in keyof T]: Promise<T[K]> },
): Promise<T> {
  const results = await Promise.allSettled(work);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return (await Promise.all(work)) as unknown as T;
}

async function removeCgroupSoon(directory: string, clock: Clock): Promise<void> {
  // A killed process leaves its cgroup a moment after the signal.
  for (let attempt = 0; ; attempt += 1) {
    try {
      await removeCgroup(directory);
      return;
    } catch (error) {
      if (attempt >= 100) throw error;
      await clock.sleep(10);
    }
  }
}

/** Our own hard limit of open files: a container cannot be given more when CAP_SYS_RESOURCE is missing. */
async function openFilesLimit(): Promise<number> {
  const limit = /^Max open files\s+\S+\s+(\d+)/m.exec(await readFile('/proc/self/limits', 'utf8'))?.[1];
  return limit === undefined ? 1024 : Number(limit);
}
