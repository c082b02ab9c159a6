// Three centres as three machines: network namespaces on one switch, each with a platform of its own, links that can be cut.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processesOf } from './machine.ts';
import { ROOT, type TestPlace } from './platform.ts';
import { type CommandResult, runCommand } from './run.ts';

/** The centres; the first is the topology's primary. */
export const CENTERS = ['north', 'south', 'west'] as const;
/** Name of a centre. */
export type CenterName = (typeof CENTERS)[number];

const API_PORT = 7070;
const DR_PORT = 7400;
/** The shop's port at every centre. */
export const SHOP_PORT = 8080;
const START_TIMEOUT_MS = 240_000;
const STOP_TIMEOUT_MS = 90_000;

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** One centre's machine. */
export interface CenterMachine {
  readonly name: CenterName;
  readonly address: string;
  /** A place as other helpers know it; its commands run inside the namespace. */
  readonly place: TestPlace;
  readonly home: string;
}

/** The three machines. Disposing of them ends everything in them and removes them. */
export class CenterMachines implements AsyncDisposable {
  readonly #id = `hc${process.pid % 100_000}`;
  readonly #directory: string;
  readonly #subnet = `10.${60 + (process.pid % 30)}.${process.pid % 250}`;
  readonly #running = new Map<CenterName, ChildProcess>();
  readonly #output = new Map<CenterName, string>();
  readonly machines: Record<CenterName, CenterMachine>;

  private constructor(directory: string) {
    this.#directory = directory;
    const machine = (name: CenterName, index: number): CenterMachine => this.#machine(name, index);
    this.machines = { north: machine('north', 1), south: machine('south', 2), west: machine('west', 3) };
  }

  /** Makes the machines and the file that lists the centres. */
  static async create(replication: 'sync' | 'async'): Promise<CenterMachines> {
    const all = new CenterMachines(await mkdtemp(join(tmpdir(), 'heptad-centers-')));
    try {
      await all.#writeSettings(replication);
      all.#wire();
      return all;
    } catch (error) {
      await all[Symbol.asyncDispose]();
      throw error;
    }
  }

  #machine(name: CenterName, index: number): CenterMachine {
    const home = join(this.#directory, name);
    const address = `${this.#subnet}.${index}`;
    const server = `http://${address}:${API_PORT}`;
    return {
      name,
      address,
      home,
      place: {
        home,
        bridge: 'heptad0',
        server,
        shopPort: SHOP_PORT,
        environment: {
          HEPTAD_HOME: home,
          HEPTAD_HOST: address,
          HEPTAD_SERVER: server,
          HEPTAD_CENTERS: join(this.#directory, 'centers.yaml'),
          HEPTAD_CENTER: name,
          // One node a centre: the copies that matter here are those at the other centres.
          HEPTAD_STORAGE_NODE_COUNT: '1',
          SHOP_PORT: `0.0.0.0:${SHOP_PORT}`,
        },
        [Symbol.asyncDispose]: async () => {},
      },
    };
  }

  async #writeSettings(replication: string): Promise<void> {
    const centers = Object.values(this.machines).map(
      ({ name, address }) =>
        `  - { name: ${name}, address: "${address}:${DR_PORT}", api: "http://${address}:${API_PORT}" }`,
    );
    const text = ['primary: north', `replication: ${replication}`, 'centers:', ...centers, ''].join('\n');
    await writeFile(join(this.#directory, 'centers.yaml'), text);
    const secret = join(this.#directory, 'centers.secret');
    await writeFile(secret, `${Buffer.alloc(32, this.#id).toString('base64')}\n`);
    await chmod(secret, 0o600);
  }

  #namespace(name: CenterName): string {
    return `${this.#id}-${name}`;
  }

  // The switch is a bridge in the test's own namespace, so that the test itself is a client of all three.
  #wire(): void {
    ip('link', 'add', this.#id, 'type', 'bridge');
    ip('addr', 'add', `${this.#subnet}.254/24`, 'dev', this.#id);
    ip('link', 'set', this.#id, 'up');
    for (const { name, address } of Object.values(this.machines)) {
      const namespace = this.#namespace(name);
      const port = this.#port(name);
      ip('netns', 'add', namespace);
      ip('link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
      ip('link', 'set', port, 'master', this.#id);
      ip('link', 'set', port, 'up');
      ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
      ip('-n', namespace, 'link', 'set', 'eth0', 'up');
      ip('-n', namespace, 'link', 'set', 'lo', 'up');
    }
  }

  #port(name: CenterName): string {
    return `${this.#id}${name[0]}`;
  }

  /** Pulls a centre's plug: nobody outside hears it any more, and it hears nobody. */
  cut(name: CenterName): void {
    ip('link', 'set', this.#port(name), 'down');
  }

  /** Puts it back. */
  join(name: CenterName): void {
    ip('link', 'set', this.#port(name), 'up');
  }

  /** A command as run on that machine. `ip netns exec` would hide the cgroups. */
  on(name: CenterName, words: readonly string[]): [string, string[]] {
    return ['nsenter', [`--net=/run/netns/${this.#namespace(name)}`, '--', ...words]];
  }

  /** `heptad up` with the shop; resolves when it says that it is ready. */
  async up(name: CenterName): Promise<void> {
    const [command, args] = this.on(name, [
      join(ROOT, 'heptad'),
      'up',
      '-f',
      join(ROOT, 'apps/shop/compose.yaml'),
    ]);
    const child = spawn(command, args, {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.machines[name].place.environment },
    });
    this.#running.set(name, child);
    this.#output.set(name, '');
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`${name} was not up in time:\n${this.output(name)}`)),
        START_TIMEOUT_MS,
      );
      const take = (chunk: Buffer): void => {
        this.#output.set(name, this.output(name) + chunk.toString());
        if (!this.output(name).includes('following events')) return;
        clearTimeout(late);
        resolve();
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
      child.once('exit', (code) => reject(new Error(`${name} ended with ${code}:\n${this.output(name)}`)));
    });
  }

  /** Runs `./heptad ...words` on that machine. */
  heptad(name: CenterName, words: readonly string[]): Promise<CommandResult> {
    const { environment } = this.machines[name].place;
    return runCommand(...this.on(name, [join(ROOT, 'heptad'), ...words]), environment);
  }

  /** Runs `./heptad --json ...words` there and parses what it prints; throws when it fails. */
  async heptadJson<T>(name: CenterName, words: readonly string[]): Promise<T> {
    const result = await this.heptad(name, ['--json', ...words]);
    if (result.code !== 0)
      throw new Error(`${name}: heptad ${words.join(' ')} ended with ${result.code}: ${result.stderr}`);
    return JSON.parse(result.stdout) as T;
  }

  /** The containers that run there: each has a monitor whose command names its home. */
  containersOf(name: CenterName): string[] {
    return processesOf(this.machines[name].home).filter((command) => command.includes('conmon'));
  }

  /** Process id of a part of the platform there. */
  pidOf(name: CenterName, part: string): number {
    const text = readFileSync(join(this.machines[name].home, 'run', `${part}.pid`), 'utf8');
    return (JSON.parse(text) as { pid: number }).pid;
  }

  /** Everything `up` printed there. */
  output(name: CenterName): string {
    return this.#output.get(name) ?? '';
  }

  /** Ctrl-C at that machine; resolves when all of it has ended. */
  async down(name: CenterName): Promise<void> {
    const child = this.#running.get(name);
    this.#running.delete(name);
    if (child?.pid === undefined || child.exitCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    process.kill(-child.pid, 'SIGINT');
    const late = new Promise<never>((_resolve, reject) =>
      setTimeout(
        () => reject(new Error(`${name} did not stop:\n${this.output(name).slice(-4000)}`)),
        STOP_TIMEOUT_MS,
      ).unref(),
    );
    await Promise.race([ended, late]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of CENTERS) this.join(name);
    await Promise.all([...this.#running.keys()].map((name) => this.down(name)));
    for (const name of CENTERS) {
      try {
        ip('netns', 'del', this.#namespace(name));
      } catch {
        // It was never made.
      }
    }
    try {
      ip('link', 'del', this.#id);
    } catch {
      // It was never made.
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}
