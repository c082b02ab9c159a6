// Three (or so) real centres as processes on loopback.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { CenterClient, type CenterStatus, type TopologyInput } from '@heptad/dr';

const PROGRAM = fileURLToPath(new URL('./center-process.ts', import.meta.url));
const STORE = fileURLToPath(new URL('../../../storage/src/state/index.ts', import.meta.url));

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Fast enough for tests, slow enough for a busy machine. */
export const TIMINGS = {
  heartbeatMs: 100,
  acceptablePauseMs: 800,
  leaseTtlMs: 3000,
  leaseMarginMs: 1000,
  requestTimeoutMs: 800,
  cooldownMs: 0,
} as const;

export class Cluster implements AsyncDisposable {
  readonly topology: TopologyInput;
  readonly client: CenterClient;
  readonly events: { center: string; kind: string; message: string }[] = [];
  readonly #directory: string;
  readonly #processes = new Map<string, ChildProcess>();

  private constructor(topology: TopologyInput, directory: string) {
    this.topology = topology;
    this.#directory = directory;
    this.client = this.newClient();
  }

  static async start(
    options: Partial<TopologyInput> & { readonly names?: readonly string[]; readonly witness?: string } = {},
  ): Promise<Cluster> {
    const { names = ['north', 'south', 'west'], witness, ...rest } = options;
    const centers = [];
    for (const name of names) {
      centers.push({ name, address: `127.0.0.1:${await freePort()}`, witness: name === witness });
    }
    const topology: TopologyInput = {
      primary: names[0] ?? '',
      timings: TIMINGS,
      maxFailoversPerHour: 100,
      ...rest,
      centers,
    };
    const cluster = new Cluster(topology, await mkdtemp(join(tmpdir(), 'heptad-dr-')));
    await Promise.all(names.map((name) => cluster.launch(name)));
    return cluster;
  }

  newClient(except?: string): CenterClient {
    const addresses = this.topology.centers
      .filter(({ name, witness }) => !witness && name !== except)
      .map(({ address }) => address);
    return new CenterClient({ addresses, secret: 'test', attemptTimeoutMs: 1000 });
  }

  async launch(name: string): Promise<void> {
    const task = {
      topology: this.topology,
      self: name,
      storePath: join(this.#directory, `${name}.db`),
      storeModule: STORE,
    };
    const child = spawn(process.execPath, ['--conditions=heptad-source', PROGRAM, JSON.stringify(task)], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    });
    this.#processes.set(name, child);
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code, signal) => reject(new Error(`centre ${name} ended with ${code ?? signal}`)));
      if (child.stdout === null) return reject(new Error('no stdout'));
      createInterface({ input: child.stdout }).on('line', (line) => {
        const event = JSON.parse(line) as { center: string; kind: string; message: string };
        if (event.kind === 'started') resolve();
        else this.events.push(event);
      });
    });
  }

  signal(name: string, signal: NodeJS.Signals): void {
    this.#processes.get(name)?.kill(signal);
  }

  async kill(name: string): Promise<void> {
    const child = this.#processes.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  /** Asks a process to hand over, over its control channel. */
  async switchover(from: string, to: string): Promise<void> {
    const child = this.#processes.get(from);
    const answered = new Promise<string>((resolve) =>
      child?.once('message', (message) => resolve(String(message))),
    );
    child?.send(to);
    const answer = await answered;
    if (answer !== 'done') throw new Error(answer);
  }

  address(name: string): string {
    return this.topology.centers.find((center) => center.name === name)?.address ?? '';
  }

  status(name: string): Promise<CenterStatus> {
    return this.client.status(this.address(name));
  }

  /** The one serving primary, waited for. */
  async primary(withinMs = 20_000, except?: string): Promise<string> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      for (const { name } of this.topology.centers) {
        if (name === except) continue;
        const status = await this.status(name).catch(() => undefined);
        if (status?.serving) return name;
      }
      if (performance.now() > deadline) {
        throw new Error(
          `no primary within ${withinMs} ms: ${this.events
            .slice(-20)
            .map((event) => `${event.center} ${event.message}`)
            .join('\n')}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async until(what: string, test: () => Promise<boolean>, withinMs = 20_000): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (!(await test().catch(() => false))) {
      if (performance.now() > deadline) {
        throw new Error(
          `not within ${withinMs} ms: ${what}\n${this.events
            .slice(-30)
            .map((event) => `${event.center} ${event.message}`)
            .join('\n')}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#processes.keys()) await this.kill(name).catch(() => {});
    await rm(this.#directory, { recursive: true, force: true });
  }
}
