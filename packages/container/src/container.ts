// A handle on one container: the runtime's verbs without repeating the id.

import type {
  ArchiveStream,
  AttachOptions,
  AttachSession,
  CommitOptions,
  ContainerId,
  ContainerInfo,
  ContainerProcess,
  ContainerRuntime,
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
  TerminalSize,
} from '@heptad/core';

/** How long a process may take to end after being asked to, as in Docker. */
const DEFAULT_GRACE_MS = 10_000;

/** One container. Made by {@link ContainerEngine.run} and {@link ContainerEngine.container}. */
export class Container {
  readonly id: ContainerId;
  readonly name: string;
  private readonly runtime: ContainerRuntime;

  constructor(runtime: ContainerRuntime, id: ContainerId, name: string) {
    this.runtime = runtime;
    this.id = id;
    this.name = name;
  }

  /** Lets a created or stopped container run. */
  start(): Promise<void> {
    return this.runtime.start(this.id);
  }

  /** Asks it to end, and kills it after `graceMs` (default 10 000). */
  stop(options: { graceMs?: number; signal?: AbortSignal } = {}): Promise<void> {
    return this.runtime.stop(this.id, { graceMs: DEFAULT_GRACE_MS, ...options });
  }

  /** Sends a signal, by name or number, to its main process or to `all`. Default SIGKILL. */
  kill(signal: string | number = 'SIGKILL', options: { all?: boolean } = {}): Promise<void> {
    return this.runtime.kill(this.id, signal, options);
  }

  /** Freezes it. */
  pause(): Promise<void> {
    return this.runtime.pause(this.id);
  }

  /** Thaws it. */
  resume(): Promise<void> {
    return this.runtime.resume(this.id);
  }

  /** Removes it; a running one only by force. Volumes of its image's `VOLUME` paths stay unless `volumes` is set. */
  remove(options: RemoveOptions = {}): Promise<void> {
    return this.runtime.remove(this.id, options);
  }

  /** Changes its limits while it runs. */
  update(limits: ResourceLimits): Promise<void> {
    return this.runtime.update(this.id, limits);
  }

  /** Runs a program in it. Read both streams: an unread one makes the program wait. */
  exec(options: ExecOptions): Promise<ExecSession> {
    return this.runtime.exec(this.id, options);
  }

  /** Joins its main process: output from now on or with a replay, input when it was created with `openStdin` or `tty`. */
  attach(options: AttachOptions = {}): Promise<AttachSession> {
    return this.runtime.attach(this.id, options);
  }

  /** Sets the size of its terminal. */
  resize(size: TerminalSize): Promise<void> {
    return this.runtime.resize(this.id, size);
  }

  /** Its processes, the main one first. */
  top(): Promise<ContainerProcess[]> {
    return this.runtime.top(this.id);
  }

  /** What a path in it is. Throws `PATH_NOT_FOUND`. */
  statPath(path: string): Promise<FileStat> {
    return this.runtime.statPath(this.id, path);
  }

  /** A file or directory of it as a tar stream; links are resolved inside it only. Throws `PATH_NOT_FOUND`. */
  copyOut(path: string, options: { signal?: AbortSignal } = {}): Promise<ArchiveStream> {
    return this.runtime.copyOut(this.id, path, options);
  }

  /** Unpacks a tar stream into a directory of it. Throws `PATH_NOT_FOUND`, `INVALID_ARGUMENT`, `UNSAFE_ARCHIVE`. */
  copyIn(path: string, tar: AsyncIterable<Uint8Array>, options: CopyInOptions = {}): Promise<void> {
    return this.runtime.copyIn(this.id, path, tar, options);
  }

  /** What it changed of its image. */
  diff(): Promise<FileChange[]> {
    return this.runtime.diff(this.id);
  }

  /** Its root file system as a tar stream. */
  exportRootfs(options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    return this.runtime.exportRootfs(this.id, options);
  }

  /** Makes an image of it; answers the digest of its manifest. */
  commit(options: CommitOptions = {}): Promise<{ digest: string }> {
    return this.runtime.commit(this.id, options);
  }

  /** Its output. */
  logs(options: LogOptions = {}): AsyncIterable<LogLine> {
    return this.runtime.logs(this.id, options);
  }

  /** Resolves when its main process has ended, or it is removed. */
  wait(
    condition: 'not-running' | 'next-exit' | 'removed' = 'not-running',
    signal?: AbortSignal,
  ): Promise<ExitStatus> {
    return this.runtime.wait(this.id, condition, signal);
  }

  /** What it uses right now. */
  stats(): Promise<ContainerStats> {
    return this.runtime.stats(this.id);
  }

  /** What is known of it. */
  inspect(): Promise<ContainerInfo> {
    return this.runtime.inspect(this.id);
  }

  /** Rewrites the extra lines of its /etc/hosts while it runs. */
  setHosts(hosts: Readonly<Record<string, string>>): Promise<void> {
    return this.runtime.setHosts(this.id, hosts);
  }
}
