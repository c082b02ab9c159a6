// A handle on one container: the runtime's verbs without repeating the id.

import type {
  ContainerId,
  ContainerInfo,
  ContainerRuntime,
  ContainerStats,
  ExecOptions,
  ExecSession,
  ExitStatus,
  LogLine,
  LogOptions,
  ResourceLimits,
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

  /** Sends a signal, by name or number. Default SIGKILL. */
  kill(signal: string | number = 'SIGKILL'): Promise<void> {
    return this.runtime.kill(this.id, signal);
  }

  /** Freezes it. */
  pause(): Promise<void> {
    return this.runtime.pause(this.id);
  }

  /** Thaws it. */
  resume(): Promise<void> {
    return this.runtime.resume(this.id);
  }

  /** Removes it; a running one only by force. */
  remove(options: { force?: boolean } = {}): Promise<void> {
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

  /** Its output. */
  logs(options: LogOptions = {}): AsyncIterable<LogLine> {
    return this.runtime.logs(this.id, options);
  }

  /** Resolves when its main process has ended, or it is removed. */
  wait(condition: 'not-running' | 'removed' = 'not-running', signal?: AbortSignal): Promise<ExitStatus> {
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
