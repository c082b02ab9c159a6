// Three centres on this machine, each a process with a durable store of its own, for rehearsing failovers.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { HeptadError, systemClock } from '@heptad/core';
import { CenterClient, DisasterRecovery, type TopologyInput } from '@heptad/dr';
import { SqliteStateStore } from '@heptad/storage/state';
import { selfCommand } from '../../supervise/self.ts';
import { runUntilSignal } from '../../supervise/shutdown.ts';

/** What one centre's process is told, through its environment: the secret must not be seen in a process list. */
interface CenterTask {
  readonly topology: TopologyInput;
  readonly self: string;
  readonly storePath: string;
  readonly secret: string;
}

const TASK_VARIABLE = 'HEPTAD_CENTER_TASK';
const NAMES = ['north', 'south', 'west'] as const;
const SECRET_BYTES = 24;
const READY_TIMEOUT_MS = 30_000;
const POLL_MS = 50;

/** The hidden command that is one centre. */
export async function runCenter(): Promise<void> {
  const text = process.env[TASK_VARIABLE];
  if (text === undefined)
    throw new HeptadError('INVALID_ARGUMENT', '"dr center" is started by "heptad dr drill" only');
  const task = JSON.parse(text) as CenterTask;
  await runUntilSignal(async () => {
    const store = new SqliteStateStore({ path: task.storePath });
    const center = await DisasterRecovery.start({
      topology: task.topology,
      self: task.self,
      store,
      secret: task.secret,
    });
    process.stdout.write('started\n');
    return center;
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address === 'object' && address !== null) return address.port;
  throw new HeptadError('UNAVAILABLE', 'no free port on 127.0.0.1');
}

/** A primary and two backups. Disposing of it kills all three and removes their data. */
export class Rehearsal implements AsyncDisposable {
  readonly client: CenterClient;
  readonly #topology: TopologyInput;
  readonly #directory: string;
  readonly #secret: string;
  readonly #processes = new Map<string, ChildProcess>();

  private constructor(topology: TopologyInput, directory: string, secret: string) {
    this.#topology = topology;
    this.#directory = directory;
    this.#secret = secret;
    const addresses = topology.centers.map((center) => center.address);
    this.client = new CenterClient({ addresses, secret, attemptTimeoutMs: 1_000 });
  }

  /** Starts the three and waits until both backups have a copy. */
  static async start(replication: 'sync' | 'async'): Promise<Rehearsal> {
    const centers = await Promise.all(
      NAMES.map(async (name) => ({ name, address: `127.0.0.1:${await freePort()}` })),
    );
    const rehearsal = new Rehearsal(
      { primary: NAMES[0], centers, replication },
      await mkdtemp(join(tmpdir(), 'heptad-drill-')),
      randomBytes(SECRET_BYTES).toString('base64url'),
    );
    try {
      await Promise.all(NAMES.map((name) => rehearsal.#launch(name)));
      await rehearsal.#untilReplicated();
      return rehearsal;
    } catch (error) {
      await rehearsal[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #launch(name: string): Promise<void> {
    const task: CenterTask = {
      topology: this.#topology,
      self: name,
      storePath: join(this.#directory, `${name}.db`),
      secret: this.#secret,
    };
    const { command, args } = selfCommand(['dr', 'center']);
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, [TASK_VARIABLE]: JSON.stringify(task) },
    });
    this.#processes.set(name, child);
    const ended = once(child, 'exit').then(([code, signal]) => {
      throw new HeptadError(
        'START_FAILED',
        `centre ${name} ended with ${code ?? signal} instead of starting`,
      );
    });
    await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended]);
    // From here on its end is what a drill is about, not a failure of ours.
    ended.catch(() => {});
  }

  async #untilReplicated(): Promise<void> {
    const deadline = systemClock.monotonicMs() + READY_TIMEOUT_MS;
    for (;;) {
      const primary = await this.primary();
      const status = primary === undefined ? undefined : await this.#status(primary);
      if (
        status !== undefined &&
        status.backups.length > 0 &&
        status.backups.every(({ state }) => state === 'streaming')
      )
        return;
      if (systemClock.monotonicMs() > deadline)
        throw new HeptadError(
          'TIMEOUT',
          `the three centres did not agree within ${READY_TIMEOUT_MS / 1000} s`,
        );
      await systemClock.sleep(POLL_MS);
    }
  }

  #status(name: string) {
    const address = this.#topology.centers.find((center) => center.name === name)?.address ?? '';
    return this.client.status(address).catch(() => undefined);
  }

  /** Name of the centre that serves now. */
  async primary(): Promise<string | undefined> {
    for (const name of NAMES) if ((await this.#status(name))?.serving) return name;
    return undefined;
  }

  /** Sends a signal to a centre's process and, for SIGKILL, waits until it is gone. */
  async signal(name: string, signal: 'SIGKILL' | 'SIGSTOP'): Promise<void> {
    const child = this.#processes.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = signal === 'SIGKILL' ? once(child, 'exit') : undefined;
    child.kill(signal);
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#processes.keys()) await this.signal(name, 'SIGKILL');
    await rm(this.#directory, { recursive: true, force: true });
  }
}
