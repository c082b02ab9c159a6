// A ContainerRuntime of real child processes, for tests: "images" are Node programs, addresses are loopback addresses.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import {
  type ContainerEvent,
  type ContainerFilter,
  type ContainerInfo,
  type ContainerRuntime,
  type ContainerSpec,
  type ContainerStats,
  type ExecOptions,
  type ExecSession,
  type ExitStatus,
  HeptadError,
  type LogLine,
  type ResourceLimits,
  type RuntimeProbe,
} from '@heptad/core';

interface Entry {
  readonly spec: ContainerSpec;
  info: ContainerInfo;
  child: ChildProcess | undefined;
  hosts: Record<string, string>;
  exited: Promise<void>;
}

/** Each runtime takes addresses of a /24 of its own, so that test files cannot meet. */
let nextNetwork = Math.floor(Math.random() * 200) + 10;

const signalNumbers: Record<string, number> = { SIGTERM: 15, SIGKILL: 9 };

async function missing(): Promise<never> {
  throw new HeptadError('NOT_SUPPORTED', 'the runtime of these tests cannot do this');
}

/** See the file's first line. `programs`: image -> Node source; it finds its address in HOST. */
export class ChildProcessRuntime implements ContainerRuntime {
  readonly name = 'process';
  readonly entries: Map<string, Entry> = new Map();
  readonly updates: { id: string; limits: ResourceLimits }[] = [];
  readonly #programs: Readonly<Record<string, string>>;
  readonly #network = nextNetwork++;
  readonly #listeners = new Set<(event: ContainerEvent) => void>();
  #nextAddress = 2;
  #sequence = 0;

  constructor(programs: Readonly<Record<string, string>>) {
    this.#programs = programs;
  }

  async probe(): Promise<RuntimeProbe> {
    return {
      ok: true,
      version: '1',
      capabilities: {
        isolation: 'process',
        pause: false,
        exec: true,
        limits: true,
        networks: true,
        images: false,
        attach: false,
        stdin: false,
        tty: false,
        update: true,
        mounts: false,
        copy: false,
        diff: false,
        commit: false,
        top: false,
        devices: false,
        userNamespaces: false,
        init: false,
      },
      reasons: [],
    };
  }

  async create(spec: ContainerSpec): Promise<string> {
    if (!(spec.image in this.#programs)) {
      throw new HeptadError('IMAGE_NOT_FOUND', `image ${spec.image} is not here`);
    }
    if ([...this.entries.values()].some((entry) => entry.info.name === spec.name)) {
      throw new HeptadError('NAME_IN_USE', `name ${spec.name} is in use`);
    }
    const id = randomBytes(32).toString('hex');
    this.entries.set(id, {
      spec,
      info: {
        id,
        name: spec.name,
        image: spec.image,
        state: 'created',
        isolation: 'process',
        labels: { ...spec.labels },
        ports: [],
        limits: { ...spec.limits },
        address: `127.77.${this.#network}.${this.#nextAddress++}`,
        createdAt: Date.now(),
        command: [],
        environment: {},
        mounts: [],
        networks: [],
        tty: false,
        openStdin: false,
        restart: { policy: 'no' },
        restartCount: 0,
      },
      child: undefined,
      hosts: { ...spec.hosts },
      exited: Promise.resolve(),
    });
    this.#emit('create', id);
    return id;
  }

  async start(id: string): Promise<void> {
    const entry = this.#entry(id);
    const program = this.#programs[entry.spec.image] ?? '';
    const child = spawn(process.execPath, ['-e', program], {
      env: { PATH: process.env.PATH ?? '', HOST: entry.info.address ?? '', ...entry.spec.environment },
      stdio: 'ignore',
    });
    entry.child = child;
    entry.info = {
      ...entry.info,
      state: 'running',
      startedAt: Date.now(),
      ...(child.pid === undefined ? {} : { pid: child.pid }),
    };
    entry.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        const exit = {
          exitCode: code ?? 128 + (signalNumbers[signal ?? ''] ?? 9),
          oomKilled: false,
          finishedAt: Date.now(),
        };
        entry.info = { ...entry.info, state: 'stopped', exit };
        resolve();
        if (this.entries.has(id)) this.#emit('die', id, exit);
      });
    });
    this.#emit('start', id);
  }

  async stop(id: string, options: { graceMs: number }): Promise<void> {
    const entry = this.#entry(id);
    if (entry.info.state !== 'running') return;
    entry.child?.kill('SIGTERM');
    const timer = setTimeout(() => entry.child?.kill('SIGKILL'), options.graceMs);
    await entry.exited;
    clearTimeout(timer);
    this.#emit('stop', id);
  }

  async kill(id: string): Promise<void> {
    this.#entry(id).child?.kill('SIGKILL');
  }

  async pause(): Promise<void> {
    throw new HeptadError('NOT_SUPPORTED', 'no pause here');
  }

  async resume(): Promise<void> {
    throw new HeptadError('NOT_SUPPORTED', 'no resume here');
  }

  async remove(id: string, options: { force?: boolean } = {}): Promise<void> {
    const entry = this.#entry(id);
    if (entry.info.state === 'running' && options.force !== true) {
      throw new HeptadError('ILLEGAL_TRANSITION', 'it runs');
    }
    entry.child?.kill('SIGKILL');
    await entry.exited;
    this.entries.delete(id);
    for (const listener of this.#listeners) {
      listener({ ...this.#event('remove', entry.info) });
    }
  }

  async update(id: string, limits: ResourceLimits): Promise<void> {
    const entry = this.#entry(id);
    entry.info = { ...entry.info, limits };
    this.updates.push({ id, limits });
  }

  async exec(id: string, options: ExecOptions): Promise<ExecSession> {
    const entry = this.#entry(id);
    const [command = '', ...args] = options.command;
    const child = spawn(command, args, {
      env: { PATH: process.env.PATH ?? '', HOST: entry.info.address ?? '' },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs, killSignal: 'SIGKILL' }),
    });
    const exit = new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        if (code === null) reject(new HeptadError('TIMEOUT', 'the command was killed'));
        else resolve(code);
      });
    });
    return { id: randomUUID(), stdout: child.stdout, stderr: child.stderr, exit, resize: missing };
  }

  async *logs(): AsyncIterable<LogLine> {}

  async wait(id: string): Promise<ExitStatus> {
    const entry = this.#entry(id);
    await entry.exited;
    return entry.info.exit ?? { exitCode: 0, oomKilled: false, finishedAt: Date.now() };
  }

  readonly rename: typeof missing = missing;
  readonly attach: typeof missing = missing;
  readonly resize: typeof missing = missing;
  readonly top: typeof missing = missing;
  readonly statPath: typeof missing = missing;
  readonly copyOut: typeof missing = missing;
  readonly copyIn: typeof missing = missing;
  readonly diff: typeof missing = missing;
  readonly commit: typeof missing = missing;

  // biome-ignore lint/correctness/useYield: it has nothing to yield.
  async *exportRootfs(): AsyncIterable<Uint8Array> {
    await missing();
  }

  async stats(): Promise<ContainerStats> {
    throw new HeptadError('NOT_SUPPORTED', 'no stats here');
  }

  async inspect(id: string): Promise<ContainerInfo> {
    return this.#entry(id).info;
  }

  async list(filter: ContainerFilter = {}): Promise<ContainerInfo[]> {
    const wanted = Object.entries(filter.labels ?? {});
    return [...this.entries.values()]
      .map((entry) => entry.info)
      .filter((info) => wanted.every(([key, value]) => info.labels[key] === value));
  }

  async *events(options: { signal?: AbortSignal } = {}): AsyncIterable<ContainerEvent> {
    const queue: ContainerEvent[] = [];
    let wake = (): void => {};
    const listener = (event: ContainerEvent): void => {
      queue.push(event);
      wake();
    };
    this.#listeners.add(listener);
    options.signal?.addEventListener('abort', () => wake(), { once: true });
    try {
      while (options.signal?.aborted !== true) {
        const event = queue.shift();
        if (event !== undefined) yield event;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      this.#listeners.delete(listener);
    }
  }

  async recover(): Promise<ContainerInfo[]> {
    return this.list();
  }

  async setHosts(id: string, hosts: Readonly<Record<string, string>>): Promise<void> {
    this.#entry(id).hosts = { ...hosts };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.entries.keys()].map((id) => this.remove(id, { force: true })));
  }

  #entry(id: string): Entry {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new HeptadError('CONTAINER_NOT_FOUND', `no container ${id}`);
    return entry;
  }

  #event(type: ContainerEvent['type'], info: ContainerInfo, exit?: ExitStatus): ContainerEvent {
    this.#sequence += 1;
    const { id, name, labels } = info;
    return { sequence: this.#sequence, at: Date.now(), type, id, name, labels, ...(exit ? { exit } : {}) };
  }

  #emit(type: ContainerEvent['type'], id: string, exit?: ExitStatus): void {
    const event = this.#event(type, this.#entry(id).info, exit);
    for (const listener of this.#listeners) listener(event);
  }
}
