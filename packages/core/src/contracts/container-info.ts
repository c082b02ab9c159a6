// What a runtime tells of a container: its state, figures, events, processes and files.

import type { Instant } from '../ports/clock.ts';
import type { ContainerId } from './container-runtime.ts';
import type { Mount, PublishedPort, ResourceLimits, RestartPolicy } from './container-spec.ts';

/** created -> running <-> paused, running -> stopped; a container is removed from any of them (running only by force). */
export type ContainerState = 'created' | 'running' | 'paused' | 'stopped' | 'removed';

/** How a container's main process ended. */
export interface ExitStatus {
  /** 0..255; 128 + signal when killed. */
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly finishedAt: Instant;
}

/**
 * Who ended it: its program (`itself`, crashes included), `stop` or `kill` of the runtime, the health check
 * (`unhealthy`), the kernel for want of memory (`oom`), or nobody knows because the machine or the shim died (`unknown`).
 */
export type ExitedBy = 'itself' | 'stop' | 'kill' | 'unhealthy' | 'oom' | 'unknown';

/** One run of a health check. */
export interface HealthResult {
  readonly startedAt: Instant;
  readonly finishedAt: Instant;
  /** -1 when it was killed for its time or could not be run. */
  readonly exitCode: number;
  /** At most 4096 bytes of what it wrote. */
  readonly output: string;
}

/** What the health checks of a container say. */
export interface ContainerHealth {
  /** `starting` until a check succeeded or `retries` in a row failed. */
  readonly status: 'starting' | 'healthy' | 'unhealthy';
  /** Failures in a row. */
  readonly failingStreak: number;
  /** The last 5, oldest first. */
  readonly results: readonly HealthResult[];
}

/** A container's place in one network. */
export interface NetworkAttachment {
  readonly name: string;
  readonly address?: string;
  readonly gateway?: string;
  readonly macAddress?: string;
  readonly aliases?: readonly string[];
}

/** What is known of a container. Secrets are not in it. */
export interface ContainerInfo {
  readonly id: ContainerId;
  readonly name: string;
  readonly image: string;
  /** Digest of the image's manifest. */
  readonly imageDigest?: string;
  readonly state: ContainerState;
  /** `container` (namespaces and cgroups), `vm`, or `process` (none). */
  readonly isolation: 'container' | 'vm' | 'process';
  readonly labels: Readonly<Record<string, string>>;
  readonly pid?: number;
  /** Address on the runtime's network. */
  readonly address?: string;
  readonly ports: readonly PublishedPort[];
  readonly limits: ResourceLimits;
  readonly createdAt: Instant;
  readonly startedAt?: Instant;
  readonly exit?: ExitStatus;
  /** Who ended it, once it has ended. */
  readonly exitedBy?: ExitedBy;
  /** Why the last attempt to start or restart it failed. */
  readonly error?: string;
  /** Program and arguments, entrypoint included. */
  readonly command: readonly string[];
  /** Of the spec and the image; values of `secretEnvironment` are `***`. */
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly mounts: readonly Mount[];
  /** Empty for `none` and `host`. */
  readonly networks: readonly NetworkAttachment[];
  readonly stopSignal?: string;
  readonly tty: boolean;
  readonly openStdin: boolean;
  readonly restart: RestartPolicy;
  /** Restarts by the restart policy and by health checks since it was created or last started by hand. */
  readonly restartCount: number;
  /** When the restart policy starts it again; absent: it does not. */
  readonly restartAt?: Instant;
  /** Absent without a health check. */
  readonly health?: ContainerHealth;
}

/** Figures of a running container, at one instant. */
export interface ContainerStats {
  readonly at: Instant;
  /** CPU time used since start, nanoseconds. */
  readonly cpuUsageNs: number;
  /** Working set: usage minus inactive file pages. */
  readonly memoryBytes: number;
  readonly memoryLimitBytes?: number;
  readonly pids: number;
  readonly networkReceivedBytes: number;
  readonly networkSentBytes: number;
  readonly blockReadBytes: number;
  readonly blockWrittenBytes: number;
}

/** One transition. */
export interface ContainerEvent {
  /** Increases by one with each event of a runtime. */
  readonly sequence: number;
  readonly at: Instant;
  /** `restart` comes before the `start` that the restart policy or a health check makes. */
  readonly type:
    | 'create'
    | 'start'
    | 'pause'
    | 'resume'
    | 'stop'
    | 'die'
    | 'oom'
    | 'remove'
    | 'update'
    | 'rename'
    | 'restart'
    | 'health_status'
    | 'exec_start'
    | 'exec_die';
  readonly id: ContainerId;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly exit?: ExitStatus;
  /** Of `health_status`. */
  readonly health?: ContainerHealth['status'];
  /** Of `exec_start` and `exec_die`. Health checks are not told of. */
  readonly exec?: { readonly id: string; readonly command: readonly string[]; readonly exitCode?: number };
  /** Of `rename`: the name before. */
  readonly oldName?: string;
}

/** A process of a container, as the host sees it. */
export interface ContainerProcess {
  readonly pid: number;
  readonly parentPid: number;
  readonly uid: number;
  readonly threads: number;
  /** CPU time used, milliseconds. */
  readonly cpuMs: number;
  readonly residentBytes: number;
  readonly startedAt: Instant;
  /** Program and arguments; the name in brackets where the kernel shows none. */
  readonly command: string;
}

/** What a container changed of its image, volumes left out. */
export interface FileChange {
  /** Absolute path inside the container. */
  readonly path: string;
  readonly kind: 'added' | 'changed' | 'deleted';
}

/** A path inside a container. */
export interface FileStat {
  /** The last part of the path. */
  readonly name: string;
  readonly type: 'file' | 'directory' | 'symlink' | 'device' | 'fifo' | 'socket';
  readonly sizeBytes: number;
  /** Permission bits, with set-uid, set-gid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modifiedAt: Instant;
  /** Of a symbolic link. */
  readonly linkTarget?: string;
}
