// DockerRuntime: the ContainerRuntime contract over a Docker Engine's socket.

import { join } from 'node:path';
import type {
  ArchiveStream,
  AttachOptions,
  AttachSession,
  Clock,
  CommitOptions,
  ContainerEvent,
  ContainerFilter,
  ContainerId,
  ContainerInfo,
  ContainerProcess,
  ContainerRuntime,
  ContainerSpec,
  ContainerStats,
  CopyInOptions,
  ExecOptions,
  ExecSession,
  ExitStatus,
  FileChange,
  FileStat,
  LogLine,
  LogOptions,
  RemoveOptions,
  ResourceLimits,
  RuntimeCapabilities,
  RuntimeProbe,
  TerminalSize,
} from '@heptad/core';
import { systemClock } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { EventLog } from '../lifecycle/event-log.ts';
import { signalNumber } from '../lifecycle/signals.ts';
import { requireSupported } from '../lifecycle/spec-support.ts';
import { requireNextState, requireState } from '../lifecycle/state-machine.ts';
import { validateHosts, validateLimits, validateName, validateSpec } from '../lifecycle/validate-spec.ts';
import { type HomeLock, lockHome } from '../system/home-lock.ts';
import { dockerAttach, resizeTerminal } from './attach.ts';
import { DockerConnection } from './connection.ts';
import { exitOf, infoOf, nameOf, stateOf, statsOf } from './container-info.ts';
import { DockerContainers } from './containers.ts';
import type { DockerContext } from './context.ts';
import { limitFields } from './create-body.ts';
import { EventFeed } from './event-feed.ts';
import { dockerExec } from './exec.ts';
import { commit, copyIn, copyOut, diff, exportRootfs, statPath } from './files.ts';
import { rewriteHosts } from './hosts-file.ts';
import { type DockerImageOptions, loadImages, pullImage } from './images.ts';
import {
  createContainer,
  killContainer,
  post,
  removeContainer,
  startContainer,
  stopContainer,
} from './lifecycle.ts';
import { dockerLogs } from './logs.ts';
import { ContainerNotes } from './notes.ts';
import { capabilitiesOf, probeDocker, standardNetwork } from './probe.ts';
import { type DockerContainer, parseStats } from './schema.ts';
import { SecretDirectory } from './secrets.ts';
import { dockerTop } from './top.ts';
import { UnhealthyActions } from './unhealthy.ts';
import { waitFor } from './waiting.ts';

/** Options of {@link DockerRuntime.open}. */
export interface DockerRuntimeOptions {
  /** The directory of what the engine does not keep for us: numbered events, notes. One process at a time. */
  readonly home: string;
  /** The engine's Unix socket. Default `/var/run/docker.sock`. */
  readonly socketPath?: string;
  /**
   * Whose containers these are: a label on each. Containers with another owner, or none, are neither seen nor touched.
   * Default `heptad`.
   */
  readonly owner?: string;
  /** The network of a container that names none. Default `bridge`, or `none` when the engine has no such network. */
  readonly defaultNetwork?: string;
  /** A directory in memory (tmpfs) for secret files. Default `/run/heptad/docker-secrets`. */
  readonly secretsDirectory?: string;
  readonly clock?: Clock;
}

/**
 * Containers of a Docker Engine (19.03 or later). The API version is agreed with the engine. Containers are the
 * engine's: they outlive this process, and `recover()` finds them again.
 *
 * What differs from the other drivers: `commit` answers the image's id, because engines before 29 have no manifests;
 * values of `secretEnvironment` are hidden here but not from others who may use the engine's socket; replaying with
 * `attach` may miss what is written between replay and joining; user namespaces are the engine's matter;
 * standard input stays open for terminals only.
 *
 * @example
 * ```ts
 * import { isHeptadError } from '@heptad/core';
 * import { DockerRuntime } from '@heptad/container';
 *
 * try {
 *   await using docker = await DockerRuntime.open({ home: '/tmp/docker-home', socketPath: '/no/such.sock' });
 *   console.log(await docker.list());
 * } catch (error) {
 *   if (isHeptadError(error, 'RUNTIME_UNAVAILABLE')) console.log(error.message, error.hint);
 * }
 * ```
 */
export class DockerRuntime implements ContainerRuntime {
  readonly name = 'docker';
  private readonly context: DockerContext;
  private readonly eventLog: EventLog;
  private readonly lock: HomeLock;
  private readonly closing: AbortController;
  // Asked for once: a daemon learns no new ability without a restart, and its answer takes a while.
  private capabilities: RuntimeCapabilities | undefined;

  private constructor(context: DockerContext, eventLog: EventLog, lock: HomeLock, closing: AbortController) {
    this.context = context;
    this.eventLog = eventLog;
    this.lock = lock;
    this.closing = closing;
  }

  /**
   * Connects to the engine. Throws `RUNTIME_UNAVAILABLE` (no socket, no permission, nobody listening, no common API
   * version), `HOME_IN_USE`.
   */
  static async open(options: DockerRuntimeOptions): Promise<DockerRuntime> {
    const clock = options.clock ?? systemClock;
    const owner = options.owner ?? 'heptad';
    const connection = new DockerConnection(options.socketPath ?? '/var/run/docker.sock');
    await connection.apiVersion();
    const lock = await lockHome(options.home);
    const log = await EventLog.open(join(options.home, 'events.jsonl'));
    const closing = new AbortController();
    const unhealthy = new UnhealthyActions(closing.signal);
    const feed: EventFeed = new EventFeed({
      connection,
      owner,
      log,
      clock,
      onUnhealthy: (id, labels) => void unhealthy.act(context, id, labels).catch(() => undefined),
    });
    const context: DockerContext = {
      connection,
      containers: new DockerContainers(connection, owner),
      clock,
      owner,
      defaultNetwork: options.defaultNetwork ?? (await standardNetwork(connection)),
      secrets: new SecretDirectory(options.secretsDirectory ?? '/run/heptad/docker-secrets'),
      notes: new ContainerNotes(options.home),
      feed,
    };
    const runtime = new DockerRuntime(context, log, lock, closing);
    try {
      await feed.start();
      return runtime;
    } catch (error) {
      await runtime[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** {@inheritDoc ContainerRuntime.probe} */
  probe(): Promise<RuntimeProbe> {
    return probeDocker(this.context.connection, this.context.defaultNetwork);
  }

  /**
   * Gives the engine the images of a `docker save` or OCI archive. Returns what the engine says of them. Throws for
   * errors that the engine reports inside its stream of progress, too.
   */
  async load(
    archive: string | AsyncIterable<Uint8Array>,
    options: DockerImageOptions = {},
  ): Promise<string[]> {
    return await loadImages(this.context.connection, archive, options);
  }

  /** Has the engine pull an image; resolves when it is there. Throws `IMAGE_NOT_FOUND`, `UNAUTHENTICATED`, `RUNTIME_FAILED`. */
  async pull(reference: string, options: DockerImageOptions = {}): Promise<void> {
    await pullImage(this.context.connection, reference, options);
  }

  async create(spec: ContainerSpec): Promise<ContainerId> {
    this.requireOpen();
    validateSpec(spec);
    this.capabilities ??= await capabilitiesOf(this.context.connection, this.context.defaultNetwork);
    requireSupported({ name: this.name, capabilities: this.capabilities }, spec);
    return await createContainer(this.context, spec);
  }

  async start(id: ContainerId): Promise<void> {
    await startContainer(this.context, await this.find(id));
  }

  async stop(id: ContainerId, options: { graceMs: number; signal?: AbortSignal }): Promise<void> {
    await stopContainer(this.context, await this.find(id), options);
  }

  async kill(id: ContainerId, signal: string | number, options: { all?: boolean } = {}): Promise<void> {
    const number = signalNumber(signal);
    await killContainer(this.context, await this.find(id), number, options.all ?? false);
  }

  async pause(id: ContainerId): Promise<void> {
    const container = await this.find(id);
    requireNextState(nameOf(container), stateOf(container), 'pause');
    await post(this.context, container, 'pause', `pause container "${nameOf(container)}"`);
  }

  async resume(id: ContainerId): Promise<void> {
    const container = await this.find(id);
    requireNextState(nameOf(container), stateOf(container), 'resume');
    await post(this.context, container, 'unpause', `resume container "${nameOf(container)}"`);
  }

  async remove(id: ContainerId, options: RemoveOptions = {}): Promise<void> {
    await removeContainer(this.context, await this.find(id), options);
  }

  async rename(id: ContainerId, name: string): Promise<void> {
    const container = await this.find(id);
    const doing = `rename container "${nameOf(container)}"`;
    validateName(name, doing);
    if (nameOf(container) === name) return;
    const path = `/containers/${container.Id}/rename`;
    await this.context.connection.status({ method: 'POST', path, query: { name }, doing });
  }

  async update(id: ContainerId, limits: ResourceLimits): Promise<void> {
    const container = await this.find(id);
    const doing = `update container "${nameOf(container)}"`;
    validateLimits(limits, doing);
    const path = `/containers/${container.Id}/update`;
    await this.context.connection.json({ method: 'POST', path, json: limitFields(limits), doing });
  }

  async exec(id: ContainerId, options: ExecOptions): Promise<ExecSession> {
    const container = await this.find(id);
    const name = nameOf(container);
    if (options.command.length === 0) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot exec in container "${name}": the command is empty`,
      );
    }
    if (options.detach === true && options.stdin !== undefined) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot exec in container "${name}": a detached command has no input`,
      );
    }
    if (options.workingDirectory !== undefined && !options.workingDirectory.startsWith('/')) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot exec in container "${name}": workingDirectory "${options.workingDirectory}" is not an absolute path`,
      );
    }
    options.signal?.throwIfAborted();
    requireState(name, stateOf(container), 'exec in', ['running']);
    const { connection, clock, feed } = this.context;
    const onCreated = (execId: string): void => feed.expectExec(execId, options.command);
    return await dockerExec({ connection, clock, container, onCreated }, options);
  }

  async attach(id: ContainerId, options: AttachOptions = {}): Promise<AttachSession> {
    const container = await this.find(id);
    options.signal?.throwIfAborted();
    requireState(nameOf(container), stateOf(container), 'attach to', ['created', 'running', 'paused']);
    return await dockerAttach(this.context.connection, container, options);
  }

  async resize(id: ContainerId, size: TerminalSize): Promise<void> {
    const container = await this.find(id);
    const doing = `resize the terminal of container "${nameOf(container)}"`;
    if (!container.Config.Tty) throw new ContainerError('INVALID_ARGUMENT', `cannot ${doing}: it has none`);
    // Before it runs it has no terminal to size; the size waits for it.
    if (stateOf(container) === 'created') await this.context.notes.write(container.Id, { size });
    else await resizeTerminal(this.context.connection, `/containers/${container.Id}`, size, doing);
  }

  async *logs(id: ContainerId, options: LogOptions = {}): AsyncIterable<LogLine> {
    const container = await this.find(id);
    const { connection } = this.context;
    const { Id, Config } = container;
    yield* dockerLogs({ connection, id: Id, name: nameOf(container), tty: Config.Tty }, options);
  }

  async wait(
    id: ContainerId,
    condition: 'not-running' | 'next-exit' | 'removed' = 'not-running',
    signal?: AbortSignal,
  ): Promise<ExitStatus> {
    signal?.throwIfAborted();
    const { connection, clock } = this.context;
    return await waitFor(connection, clock, await this.find(id), condition, signal);
  }

  async stats(id: ContainerId): Promise<ContainerStats> {
    const container = await this.find(id);
    requireState(nameOf(container), stateOf(container), 'measure', ['running', 'paused']);
    const answer = await this.context.connection.json({
      method: 'GET',
      path: `/containers/${container.Id}/stats`,
      query: { stream: false, 'one-shot': true },
      doing: `measure container "${nameOf(container)}"`,
    });
    return statsOf(parseStats(answer), container);
  }

  async top(id: ContainerId): Promise<ContainerProcess[]> {
    const container = await this.find(id);
    requireState(nameOf(container), stateOf(container), 'list the processes of', ['running', 'paused']);
    return await dockerTop(this.context.connection, this.context.clock, container);
  }

  async inspect(id: ContainerId): Promise<ContainerInfo> {
    return await this.info(await this.find(id));
  }

  async list(filter: ContainerFilter = {}): Promise<ContainerInfo[]> {
    this.requireOpen();
    const containers = await this.context.containers.list(filter.labels ?? {});
    const infos = await Promise.all(containers.map((container) => this.info(container)));
    return infos.filter((info) => filter.states === undefined || filter.states.includes(info.state));
  }

  async *events(options: { since?: number; signal?: AbortSignal } = {}): AsyncIterable<ContainerEvent> {
    this.requireOpen();
    yield* this.eventLog.follow(options);
  }

  async recover(): Promise<ContainerInfo[]> {
    const infos = await this.list();
    await this.context.secrets.sweep(await this.context.containers.creations());
    await this.context.notes.sweep(new Set(infos.map(({ id }) => id)));
    return infos;
  }

  async setHosts(id: ContainerId, hosts: Readonly<Record<string, string>>): Promise<void> {
    const container = await this.find(id);
    validateHosts(hosts, `set the hosts of container "${nameOf(container)}"`);
    await rewriteHosts(container, hosts);
    await this.context.notes.write(container.Id, { hosts });
  }

  async statPath(id: ContainerId, path: string): Promise<FileStat> {
    return await statPath(this.context.connection, await this.find(id), path);
  }

  async copyOut(
    id: ContainerId,
    path: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<ArchiveStream> {
    return await copyOut(this.context.connection, await this.find(id), path, options);
  }

  async copyIn(
    id: ContainerId,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: CopyInOptions = {},
  ): Promise<void> {
    await copyIn(this.context.connection, await this.find(id), path, tar, options);
  }

  async diff(id: ContainerId): Promise<FileChange[]> {
    return await diff(this.context.connection, await this.find(id));
  }

  async *exportRootfs(id: ContainerId, options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    yield* exportRootfs(this.context.connection, await this.find(id), options);
  }

  async commit(id: ContainerId, options: CommitOptions = {}): Promise<{ digest: string }> {
    return await commit(this.context.connection, await this.find(id), options);
  }

  /** Stops listening to the engine; the containers run on. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.closing.signal.aborted) return;
    this.closing.abort();
    await this.context.feed[Symbol.asyncDispose]();
    await this.eventLog.close();
    await this.lock[Symbol.asyncDispose]();
  }

  private async find(reference: string): Promise<DockerContainer> {
    this.requireOpen();
    return await this.context.containers.find(reference);
  }

  private async info(container: DockerContainer): Promise<ContainerInfo> {
    const { restarts = 0 } = await this.context.notes.read(container.Id);
    const ended = stateOf(container) === 'stopped' ? exitOf(container) : undefined;
    const by =
      ended === undefined ? undefined : await this.context.notes.endedBy(container.Id, ended.exitCode);
    return infoOf(container, { restarts, ...(by === undefined ? {} : { exitedBy: by }) });
  }

  private requireOpen(): void {
    if (this.closing.signal.aborted) {
      throw new ContainerError('RUNTIME_UNAVAILABLE', 'the docker runtime is closed');
    }
  }
}
