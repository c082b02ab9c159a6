// The verbs that a driver may or may not have, and how every verb finds its container and has it to itself.

import type {
  ArchiveStream,
  AttachOptions,
  AttachSession,
  Clock,
  CommitOptions,
  ContainerId,
  ContainerInfo,
  ContainerProcess,
  ContainerSpec,
  CopyInOptions,
  FileChange,
  FileStat,
  TerminalSize,
} from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { attachSession, type InputChannel } from './attach.ts';
import { type ContainerDirectory, type Entry, isLive } from './container-directory.ts';
import type { RuntimeDriver } from './driver.ts';
import { notSupported } from './not-supported.ts';
import { type ContainerRecord, publicState, toInfo } from './record.ts';
import { requireNextState, requireState } from './state-machine.ts';
import type { Supervisor } from './supervisor.ts';
import { validateSize } from './validate-exec.ts';

/** What is said of a driver's optional verbs. */
const DOING = {
  input: 'write to standard input of',
  resize: 'resize the terminal of',
  top: 'list the processes of',
  statPath: 'look into',
  copyOut: 'copy out of',
  copyIn: 'copy into',
  diff: 'list the changes of',
  exportRootfs: 'export',
  commit: 'make an image of',
} as const;
type Ability = keyof typeof DOING;

/** The base of {@link ManagedRuntime}. */
export abstract class DrivenVerbs {
  readonly name: string;
  protected readonly driver: RuntimeDriver;
  protected readonly clock: Clock;
  protected readonly supervisor: Supervisor;
  protected readonly containers: ContainerDirectory;

  protected constructor(driver: RuntimeDriver, supervisor: Supervisor, clock: Clock) {
    this.clock = clock;
    this.name = driver.name;
    this.driver = driver;
    this.supervisor = supervisor;
    this.containers = supervisor.containers;
  }

  async attach(id: ContainerId, options: AttachOptions = {}): Promise<AttachSession> {
    const entry = this.find(id);
    const { record } = entry;
    options.signal?.throwIfAborted();
    requireState(record.name, publicState(record), 'attach to', ['created', 'running', 'paused']);
    const input = options.stdin === true ? await this.inputOf(record) : undefined;
    return await attachSession(
      {
        name: record.name,
        logPath: this.containers.logPath(record.id),
        clock: this.clock,
        hasEnded: () => this.hasEnded(entry),
        ...(input === undefined ? {} : { input }),
      },
      options,
    );
  }

  private async inputOf(record: ContainerRecord): Promise<InputChannel> {
    const input = this.able(record, 'input');
    if (record.spec.openStdin === true || record.spec.tty === true) return await input(record);
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot write to standard input of container "${record.name}": it was closed from the start`,
      { hint: 'create it with "openStdin" or "tty"' },
    );
  }

  /** Whether nothing more will be written to its log. */
  protected hasEnded({ record }: Entry): boolean {
    return this.supervisor.closed || !isLive(record) || this.containers.byId(record.id) === undefined;
  }

  async resize(id: ContainerId, size: TerminalSize): Promise<void> {
    const { record } = this.find(id);
    const resize = this.able(record, 'resize');
    validateSize(size, `resize the terminal of container "${record.name}"`);
    if (record.spec.tty !== true) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot resize the terminal of container "${record.name}": it has none`,
        { hint: 'create it with "tty"' },
      );
    }
    requireState(record.name, publicState(record), 'resize', ['created', 'running', 'paused']);
    await resize(record, size);
  }

  async top(id: ContainerId): Promise<ContainerProcess[]> {
    const { record } = this.find(id);
    const top = this.able(record, 'top');
    requireState(record.name, publicState(record), 'list the processes of', ['running', 'paused']);
    return await top(record);
  }

  async statPath(id: ContainerId, path: string): Promise<FileStat> {
    return await this.withFiles(id, (record) => this.able(record, 'statPath')(record, path));
  }

  async copyOut(
    id: ContainerId,
    path: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<ArchiveStream> {
    return await this.withFiles(id, (record) => this.able(record, 'copyOut')(record, path, options));
  }

  async copyIn(
    id: ContainerId,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: CopyInOptions = {},
  ): Promise<void> {
    await this.withFiles(id, (record) => this.able(record, 'copyIn')(record, path, tar, options));
  }

  async diff(id: ContainerId): Promise<FileChange[]> {
    return await this.withFiles(id, (record) => this.able(record, 'diff')(record));
  }

  async *exportRootfs(id: ContainerId, options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    yield* await this.withFiles(id, (record) => this.able(record, 'exportRootfs')(record, options));
  }

  async commit(id: ContainerId, options: CommitOptions = {}): Promise<{ digest: string }> {
    const { record } = this.find(id);
    const commit = this.able(record, 'commit');
    return await this.exclusive(id, async () => {
      const freeze = record.state === 'running' && options.pause !== false && this.driver.capabilities.pause;
      if (freeze) await this.driver.pause(record);
      try {
        return await commit(record, options);
      } finally {
        if (freeze) await this.driver.resume(record);
      }
    });
  }

  /** Looks at a container's files; nothing else happens to one that is stopped while its files are found for that. */
  private async withFiles<T>(id: ContainerId, look: (record: ContainerRecord) => Promise<T>): Promise<T> {
    const { record } = this.find(id);
    return isLive(record) ? await look(record) : await this.exclusive(id, () => look(record));
  }

  /** Runs a section while nothing else happens to the container; one removed meanwhile is not found. */
  protected async exclusive<T>(id: ContainerId, section: (entry: Entry) => Promise<T>): Promise<T> {
    const entry = this.find(id);
    return await entry.mutex.run(async () => {
      if (entry.removed) throw this.notFound(id);
      return await section(entry);
    });
  }

  /** The driver of a spec, of those there are. */
  protected driverOf(spec: ContainerSpec): RuntimeDriver {
    return this.driver.forSpec?.(spec) ?? this.driver;
  }

  protected infoOf(record: ContainerRecord): ContainerInfo {
    return toInfo(record, this.driverOf(record.spec).capabilities.isolation);
  }

  /** An ability that not every driver has. */
  protected able<Verb extends Ability>(
    record: ContainerRecord,
    verb: Verb,
  ): NonNullable<RuntimeDriver[Verb]> {
    const driver = this.driverOf(record.spec);
    const ability = driver[verb];
    if (ability === undefined) throw notSupported(driver.name, `${DOING[verb]} container "${record.name}"`);
    // The binding keeps the method's own type, which `bind` on a union of methods loses.
    return ability.bind(driver) as NonNullable<RuntimeDriver[Verb]>;
  }

  protected require(record: ContainerRecord, transition: Parameters<typeof requireNextState>[2]): void {
    requireNextState(record.name, publicState(record), transition);
  }

  protected find(id: ContainerId): Entry {
    this.requireOpen();
    const entry = this.containers.find(id);
    if (entry === undefined) throw this.notFound(id);
    return entry;
  }

  protected notFound(id: string): ContainerError {
    return new ContainerError('CONTAINER_NOT_FOUND', `there is no container "${id}"`, {
      hint: 'list() shows the containers of this runtime; an id may be shortened to 12 digits',
      details: { id },
    });
  }

  protected requireOpen(): void {
    if (this.supervisor.closed)
      throw new ContainerError('RUNTIME_UNAVAILABLE', `the ${this.name} runtime is closed`);
  }
}
