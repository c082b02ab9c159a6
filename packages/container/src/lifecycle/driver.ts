// What a way of running processes must offer, so that one lifecycle (ManagedRuntime) serves all of them.

import type {
  ArchiveStream,
  CommitOptions,
  ContainerHealthCheck,
  ContainerId,
  ContainerProcess,
  ContainerSpec,
  ContainerStats,
  CopyInOptions,
  ExecOptions,
  ExecSession,
  FileChange,
  FileStat,
  Mount,
  NetworkAttachment,
  ResourceLimits,
  RuntimeCapabilities,
  RuntimeProbe,
  TerminalSize,
} from '@heptad/core';
import type { ProcessIdentity } from '../system/processes.ts';
import type { InputChannel } from './attach.ts';
import type { ContainerRecord } from './record.ts';

/** What preparing a container settled. */
export interface PreparedContainer {
  readonly imageDigest?: string;
  readonly stopSignal: string;
  readonly address?: string;
  readonly networks?: readonly NetworkAttachment[];
  /** What will run, spec and image together; shown by inspect, so without secrets. */
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  readonly user?: string;
  readonly hostname?: string;
  /** The image's, when the spec has none. */
  readonly healthCheck?: ContainerHealthCheck;
  /** Volumes made for the image's `VOLUME` paths. */
  readonly imageVolumes?: readonly Mount[];
  /** The waiting init, for drivers that have one before start. */
  readonly process?: ProcessIdentity;
}

/** How the main process of a container is. */
export type Observation =
  | { readonly alive: true }
  | {
      readonly alive: false;
      readonly exitCode: number;
      readonly oomKilled: boolean;
      readonly finishedAt: number;
    };

/**
 * The verbs of one kind of runtime, without states, names, locks or events: {@link ManagedRuntime} calls them in legal
 * order, never two at once for one container. Everything a driver makes for a container must be findable again from
 * its id and its directory, because the process that made it may be gone.
 */
export interface RuntimeDriver {
  readonly name: string;
  readonly capabilities: RuntimeCapabilities;
  probe(): Promise<RuntimeProbe>;
  /** What it cannot work without and does not find, told without a long trial; [] when it works. */
  missing?(): Promise<readonly string[]>;
  /** Of a driver that is several: the one for a spec. Throws `NOT_SUPPORTED` when it names one that is not there. */
  forSpec?(spec: ContainerSpec): RuntimeDriver;
  /** Makes everything up to a process that waits for `start`. After a failure `release` is called. */
  prepare(record: ContainerRecord, spec: ContainerSpec): Promise<PreparedContainer>;
  /** {@link prepare} again for a container that has ended: same files, same command, perhaps another address. */
  revive(record: ContainerRecord): Promise<PreparedContainer>;
  /** Lets the process run; returns who it is. */
  start(record: ContainerRecord): Promise<ProcessIdentity>;
  /** To the main process, or to `all`. */
  signal(record: ContainerRecord, signal: number, all?: boolean): Promise<void>;
  pause(record: ContainerRecord): Promise<void>;
  resume(record: ContainerRecord): Promise<void>;
  update(record: ContainerRecord, limits: ResourceLimits): Promise<void>;
  /** `id` names the exec. */
  exec(record: ContainerRecord, options: ExecOptions, id: string): Promise<ExecSession>;
  stats(record: ContainerRecord): Promise<ContainerStats>;
  /** Makes `record.hosts` seen in the container. */
  setHosts(record: ContainerRecord): Promise<void>;
  /** Whether the main process lives, and how it ended. */
  observe(record: ContainerRecord): Promise<Observation>;
  /**
   * Kills what is left of it and frees what lies outside the container's directory: all of it when it is `removed`,
   * what a later {@link revive} makes anew when it has `stopped`. Idempotent; throws when it cannot.
   */
  release(record: ContainerRecord, because: 'stopped' | 'removed'): Promise<void>;
  /** Bounds the log and the like; called every few seconds for a running container. */
  tend(record: ContainerRecord): Promise<void>;
  /** Frees what belongs to containers that are not known any more; returns a sentence for each thing freed. */
  sweep(known: ReadonlySet<ContainerId>): Promise<string[]>;
  // What not every driver has; without it the lifecycle answers NOT_SUPPORTED. The streams of files go on whatever
  // happens to the container after the promise.
  /** The way into standard input; what is written before the start waits for it. */
  input?(record: ContainerRecord): Promise<InputChannel>;
  resize?(record: ContainerRecord, size: TerminalSize): Promise<void>;
  top?(record: ContainerRecord): Promise<ContainerProcess[]>;
  statPath?(record: ContainerRecord, path: string): Promise<FileStat>;
  copyOut?(record: ContainerRecord, path: string, options: { signal?: AbortSignal }): Promise<ArchiveStream>;
  copyIn?(
    record: ContainerRecord,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: CopyInOptions,
  ): Promise<void>;
  diff?(record: ContainerRecord): Promise<FileChange[]>;
  exportRootfs?(
    record: ContainerRecord,
    options: { signal?: AbortSignal },
  ): Promise<AsyncIterable<Uint8Array>>;
  commit?(record: ContainerRecord, options: CommitOptions): Promise<{ digest: string }>;
  /** Tells `listener` the id of a container whose main process may have ended. Only a hint: polling finds it too. */
  watchExits(listener: (id: ContainerId) => void): AsyncDisposable;
}
