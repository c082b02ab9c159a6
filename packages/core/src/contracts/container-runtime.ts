// ContainerRuntime: one machine's way to run containers, whatever carries them.

import type {
  ContainerEvent,
  ContainerInfo,
  ContainerProcess,
  ContainerState,
  ContainerStats,
  ExitStatus,
  FileChange,
  FileStat,
} from './container-info.ts';
import type {
  ArchiveStream,
  AttachOptions,
  AttachSession,
  CommitOptions,
  CopyInOptions,
  ExecOptions,
  ExecSession,
  LogLine,
  LogOptions,
  TerminalSize,
} from './container-io.ts';
import type { ContainerSpec, ResourceLimits } from './container-spec.ts';

export type * from './container-info.ts';
export type * from './container-io.ts';
export type * from './container-spec.ts';

/** 64 lower-case hexadecimal digits. */
export type ContainerId = string;

/** What a runtime can do. An operation outside them throws `NOT_SUPPORTED` naming the driver that has it. */
export interface RuntimeCapabilities {
  readonly isolation: 'container' | 'vm' | 'process';
  readonly pause: boolean;
  readonly exec: boolean;
  /** Resource limits are enforced. */
  readonly limits: boolean;
  readonly networks: boolean;
  readonly images: boolean;
  /** `attach`, output only. */
  readonly attach: boolean;
  /** `attach` with standard input, `openStdin`. */
  readonly stdin: boolean;
  /** Terminals: `tty` of spec and exec, `resize`. */
  readonly tty: boolean;
  /** Limits change while it runs. */
  readonly update: boolean;
  /** Volumes, binds and tmpfs. */
  readonly mounts: boolean;
  /** `statPath`, `copyOut`, `copyIn`. */
  readonly copy: boolean;
  /** `diff` and `exportRootfs`. */
  readonly diff: boolean;
  readonly commit: boolean;
  readonly top: boolean;
  readonly devices: boolean;
  /** `userNamespace` other than `host`. */
  readonly userNamespaces: boolean;
  /** `init`. */
  readonly init: boolean;
}

/** What a probe found out, by doing. */
export interface RuntimeProbe {
  readonly ok: boolean;
  readonly version?: string;
  readonly capabilities: RuntimeCapabilities;
  /** Names beside its own that a spec may give as `runtime`. */
  readonly others?: readonly string[];
  /** A sentence for each candidate rejected and for each thing missing, with how to get it. */
  readonly reasons: readonly string[];
}

/** Which containers to list. */
export interface ContainerFilter {
  readonly labels?: Readonly<Record<string, string>>;
  readonly states?: readonly ContainerState[];
}

/** What goes away with a container. */
export interface RemoveOptions {
  /** A running one too: it is killed. Default false. */
  readonly force?: boolean;
  /**
   * The volumes that were made for it alone too, at the `VOLUME` paths of its image; one that another container mounts by
   * its name stays. Default false. Runtimes without a file system for each container make none.
   */
  readonly volumes?: boolean;
}

/**
 * One machine's containers.
 *
 * - Every operation takes an id, a unique prefix of it (>= 12 digits) or a name; unknown: `CONTAINER_NOT_FOUND`.
 * - Illegal transitions throw `ILLEGAL_TRANSITION` with `details: { from, to }`; a name in use `NAME_IN_USE`; an image
 *   that is not here `IMAGE_NOT_FOUND`.
 * - `create` leaves nothing behind when it fails. `remove` of a missing container is `CONTAINER_NOT_FOUND`, and removing
 *   leaves no mount, namespace, cgroup, address or process.
 * - `stop` sends the stop signal, waits `graceMs` (0 = kill at once), then kills; stopping a stopped container is no
 *   error, and calls off a restart that is due.
 * - Containers survive the death of the process that started them; `recover()` re-adopts them (checking pid and start
 *   time), cleans up what ended meanwhile, and starts what its restart policy wants running.
 * - Restart policies and health checks are carried out by the process that has the runtime open.
 * - Events are ordered, one a transition.
 * - What a driver cannot do is in its capabilities; asking for it is `NOT_SUPPORTED` with `details: { driver }`, the name
 *   of one that can. A spec that asks for it is refused by `create`, never run without it.
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
  /** `signal` by name (`SIGHUP`) or number, to the main process or to `all` processes of the container. */
  kill(id: ContainerId, signal: string | number, options?: { all?: boolean }): Promise<void>;
  pause(id: ContainerId): Promise<void>;
  resume(id: ContainerId): Promise<void>;
  remove(id: ContainerId, options?: RemoveOptions): Promise<void>;
  /** Changes the limits given, and leaves the others. A container not running keeps them for its next start. */
  update(id: ContainerId, limits: ResourceLimits): Promise<void>;
  /** Takes another name, in any state. `NAME_IN_USE`, `INVALID_ARGUMENT`. */
  rename(id: ContainerId, name: string): Promise<void>;
  exec(id: ContainerId, options: ExecOptions): Promise<ExecSession>;
  /**
   * Joins the main process of a container that is created, running or paused. Any number of clients may: each sees all
   * output, and what they write arrives in the order of writing. A client that does not read holds up nobody else.
   */
  attach(id: ContainerId, options?: AttachOptions): Promise<AttachSession>;
  /** The size of the main process's terminal; `INVALID_ARGUMENT` without one. */
  resize(id: ContainerId, size: TerminalSize): Promise<void>;
  logs(id: ContainerId, options?: LogOptions): AsyncIterable<LogLine>;
  /**
   * `not-running`: resolves when the main process is not running (at once for `created`, with exit code 0, or
   * `stopped`, a restart due or not), or the container is removed. `next-exit`: at its next end, or removal, whatever it
   * is now. Rejects with the signal's reason when that aborts.
   */
  wait(
    id: ContainerId,
    condition?: 'not-running' | 'next-exit' | 'removed',
    signal?: AbortSignal,
  ): Promise<ExitStatus>;
  stats(id: ContainerId): Promise<ContainerStats>;
  /** The processes of a running or paused container, the main process first. */
  top(id: ContainerId): Promise<ContainerProcess[]>;
  inspect(id: ContainerId): Promise<ContainerInfo>;
  list(filter?: ContainerFilter): Promise<ContainerInfo[]>;
  /** Events after the one with sequence `since` (0: all that are kept); default: those from now on. Ends with the signal. */
  events(options?: { since?: number; signal?: AbortSignal }): AsyncIterable<ContainerEvent>;
  recover(): Promise<ContainerInfo[]>;
  /** Rewrites the extra lines of a container's /etc/hosts in place, while it runs. `NOT_SUPPORTED` without networks. */
  setHosts(id: ContainerId, hosts: Readonly<Record<string, string>>): Promise<void>;
  /**
   * What a path is, the last link not followed. `PATH_NOT_FOUND`. Like `copyOut` and `copyIn` it works in every state,
   * sees volumes and binds, and resolves links, even ones that change meanwhile, inside the container only.
   */
  statPath(id: ContainerId, path: string): Promise<FileStat>;
  /** A file or a directory with all below it. `PATH_NOT_FOUND`. */
  copyOut(id: ContainerId, path: string, options?: { signal?: AbortSignal }): Promise<ArchiveStream>;
  /**
   * Unpacks a tar stream (not compressed) into the directory `path`, which must exist: `PATH_NOT_FOUND`. Entries
   * replace files of their name; a directory is never replaced by something else nor the other way round
   * (`INVALID_ARGUMENT`). Device nodes are `UNSAFE_ARCHIVE`. What was unpacked before an error stays.
   */
  copyIn(
    id: ContainerId,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options?: CopyInOptions,
  ): Promise<void>;
  /** What it changed of its image, sorted by path. */
  diff(id: ContainerId): Promise<FileChange[]>;
  /** Its root file system, volumes left out, as a tar stream. */
  exportRootfs(id: ContainerId, options?: { signal?: AbortSignal }): AsyncIterable<Uint8Array>;
  /** Its image with what it changed as one more layer; answers the digest of the new image's manifest. */
  commit(id: ContainerId, options?: CommitOptions): Promise<{ digest: string }>;
}
