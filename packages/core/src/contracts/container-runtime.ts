// ContainerRuntime: one machine's way to run containers, whatever carries them.

import type { Instant } from '../ports/clock.ts';

/** 64 lower-case hexadecimal digits. */
export type ContainerId = string;

/** Hard limits of a container; an absent one means no limit of its own. */
export interface ResourceLimits {
  /** Millicores of CPU time (1000 = one core). At least 10. */
  readonly cpuMillis?: number;
  /** At least 4 MiB. */
  readonly memoryBytes?: number;
  /** Processes and threads. Default 1024. */
  readonly pids?: number;
}

/** A directory or file of the host, a named volume or memory, seen inside the container. */
export type Mount =
  | { readonly type: 'bind'; readonly source: string; readonly target: string; readonly readOnly?: boolean }
  | { readonly type: 'volume'; readonly name: string; readonly target: string; readonly readOnly?: boolean }
  | { readonly type: 'tmpfs'; readonly target: string; readonly sizeBytes?: number; readonly mode?: number };

/** A file placed in memory inside the container: secrets and configs; never shown by inspect. */
export interface SecretFile {
  /** Absolute path inside the container. */
  readonly target: string;
  readonly content: string | Uint8Array;
  /** Default 0o400. */
  readonly mode?: number;
}

/** A host port forwarded to the container. */
export interface PublishedPort {
  readonly hostAddress?: string;
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol?: 'TCP' | 'UDP';
}

/** What to run. */
export interface ContainerSpec {
  /** Unique on this machine; `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128. */
  readonly name: string;
  /** Image reference or digest known to the runtime's image store; the process runtime takes a directory or command. */
  readonly image: string;
  /** Replaces the image's entrypoint; `[]` clears it. */
  readonly entrypoint?: readonly string[];
  /** Replaces the image's command. */
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Names of environment variables whose values are secret: shown as `***` everywhere. */
  readonly secretEnvironment?: readonly string[];
  readonly workingDirectory?: string;
  /** `user[:group]`, names or numbers. */
  readonly user?: string;
  readonly hostname?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly limits?: ResourceLimits;
  readonly mounts?: readonly Mount[];
  readonly secrets?: readonly SecretFile[];
  readonly ports?: readonly PublishedPort[];
  /** `none`, `host`, or the name of a network of the runtime. Default: the runtime's default bridge. */
  readonly network?: string;
  /** Extra lines of /etc/hosts: name -> address. */
  readonly hosts?: Readonly<Record<string, string>>;
  readonly readOnlyRootfs?: boolean;
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
  /** Signal that asks the process to stop. Default the image's, else SIGTERM. */
  readonly stopSignal?: string;
  /** Log rotation. Default 5 files of 10 MiB. */
  readonly logs?: { readonly maxBytes?: number; readonly maxFiles?: number };
}

/** created -> running <-> paused, running -> stopped; a container is removed from any of them (running only by force). */
export type ContainerState = 'created' | 'running' | 'paused' | 'stopped' | 'removed';

/** How a container's main process ended. */
export interface ExitStatus {
  /** 0..255; 128 + signal when killed. */
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly finishedAt: Instant;
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
}

/** One line of output. */
export interface LogLine {
  readonly at: Instant;
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
}

/** Which lines. */
export interface LogOptions {
  readonly follow?: boolean;
  readonly since?: Instant;
  readonly until?: Instant;
  /** Only the last n lines. */
  readonly tail?: number;
  readonly stream?: 'stdout' | 'stderr';
  readonly signal?: AbortSignal;
}

/** A program to run inside a running container. */
export interface ExecOptions {
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  readonly user?: string;
  /** Bytes for standard input; none: it is closed. */
  readonly stdin?: AsyncIterable<Uint8Array> | Uint8Array;
  /** Kills it (and all it started) after this long. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A running exec. */
export interface ExecSession {
  readonly stdout: AsyncIterable<Uint8Array>;
  readonly stderr: AsyncIterable<Uint8Array>;
  /** The exit code; rejects with `TIMEOUT` or the abort reason when it was killed for that. */
  readonly exit: Promise<number>;
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
    | 'rename';
  readonly id: ContainerId;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly exit?: ExitStatus;
}

/** What a runtime can do. An operation outside them throws `NOT_SUPPORTED` naming the driver that has it. */
export interface RuntimeCapabilities {
  readonly isolation: 'container' | 'vm' | 'process';
  readonly pause: boolean;
  readonly exec: boolean;
  readonly limits: boolean;
  readonly networks: boolean;
  readonly images: boolean;
  readonly attach: boolean;
  readonly update: boolean;
}

/** What a probe found out, by doing. */
export interface RuntimeProbe {
  readonly ok: boolean;
  readonly version?: string;
  readonly capabilities: RuntimeCapabilities;
  /** A sentence for each candidate rejected and for each thing missing, with how to get it. */
  readonly reasons: readonly string[];
}

/** Which containers to list. */
export interface ContainerFilter {
  readonly labels?: Readonly<Record<string, string>>;
  readonly states?: readonly ContainerState[];
}

/**
 * One machine's containers.
 *
 * - Every operation takes an id, a unique prefix of it (>= 12 digits) or a name; unknown: `CONTAINER_NOT_FOUND`.
 * - Illegal transitions throw `ILLEGAL_TRANSITION` with `details: { from, to }`; a name in use `NAME_IN_USE`; an image
 *   that is not here `IMAGE_NOT_FOUND`.
 * - `create` leaves nothing behind when it fails. `remove` of a missing container is `CONTAINER_NOT_FOUND`, and removing
 *   leaves no mount, namespace, cgroup, address or process.
 * - `stop` sends the stop signal, waits `graceMs` (0 = kill at once), then kills; stopping a stopped container is no error.
 * - Containers survive the death of the process that started them; `recover()` re-adopts them (checking pid and start
 *   time) and cleans up what ended meanwhile.
 * - Events are ordered, one a transition.
 *
 * Every implementation passes `containerRuntimeConformance` of `@heptad/core/conformance`.
 */
export interface ContainerRuntime extends AsyncDisposable {
  /** `oci`, `docker`, `process` or `vm`. */
  readonly name: string;
  probe(): Promise<RuntimeProbe>;
  create(spec: ContainerSpec): Promise<ContainerId>;
  start(id: ContainerId): Promise<void>;
  stop(id: ContainerId, options: { graceMs: number; signal?: AbortSignal }): Promise<void>;
  /** `signal` by name (`SIGHUP`) or number. */
  kill(id: ContainerId, signal: string | number): Promise<void>;
  pause(id: ContainerId): Promise<void>;
  resume(id: ContainerId): Promise<void>;
  remove(id: ContainerId, options?: { force?: boolean }): Promise<void>;
  update(id: ContainerId, limits: ResourceLimits): Promise<void>;
  exec(id: ContainerId, options: ExecOptions): Promise<ExecSession>;
  logs(id: ContainerId, options?: LogOptions): AsyncIterable<LogLine>;
  /**
   * Resolves when the main process is not running (at once for `created`, with exit code 0, or `stopped`), or the
   * container is removed. Rejects with the signal's reason when that aborts.
   */
  wait(id: ContainerId, condition?: 'not-running' | 'removed', signal?: AbortSignal): Promise<ExitStatus>;
  stats(id: ContainerId): Promise<ContainerStats>;
  inspect(id: ContainerId): Promise<ContainerInfo>;
  list(filter?: ContainerFilter): Promise<ContainerInfo[]>;
  /** Events after the one with sequence `since` (0: all that are kept); default: those from now on. Ends with the signal. */
  events(options?: { since?: number; signal?: AbortSignal }): AsyncIterable<ContainerEvent>;
  recover(): Promise<ContainerInfo[]>;
  /** Rewrites the extra lines of a container's /etc/hosts in place, while it runs. `NOT_SUPPORTED` without networks. */
  setHosts(id: ContainerId, hosts: Readonly<Record<string, string>>): Promise<void>;
}
