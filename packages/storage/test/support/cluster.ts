// Real storage-node processes in a directory of their own, for tests that kill them.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { DistributedStorage, type DistributedStorageOptions } from '../../src/index.ts';
import { objectId } from '../../src/model/version.ts';

export const TOKEN = 'the-token-of-the-test-cluster';
const script = fileURLToPath(new URL('./node-process.ts', import.meta.url));

export interface NodeProcess {
  readonly id: string;
  readonly address: string;
  readonly directory: string;
  /** SIGKILL, and wait until it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same directory and port. */
  restart(): Promise<void>;
  /** SIGSTOP / SIGCONT: alive, and silent. */
  freeze(): void;
  thaw(): void;
}

export class TestCluster implements AsyncDisposable {
  readonly nodes: NodeProcess[] = [];
  readonly root: string;
  readonly #children = new Map<string, ChildProcess>();
  readonly #clients: DistributedStorage[] = [];

  private constructor(root: string) {
    this.root = root;
  }

  static async start(
    ids: readonly string[],
    options: { capacityBytes?: number; zones?: readonly string[] } = {},
  ): Promise<TestCluster> {
    const cluster = new TestCluster(await mkdtemp(join(tmpdir(), 'heptad-storage-')));
    await Promise.all(
      ids.map((id, at) => cluster.addProcess(id, options.capacityBytes, options.zones?.[at])),
    );
    cluster.nodes.sort((a, b) => (a.id < b.id ? -1 : 1));
    return cluster;
  }

  async addProcess(
    id: string,
    capacityBytes: number = 64 * 1024 * 1024,
    zone?: string,
  ): Promise<NodeProcess> {
    const directory = join(this.root, id);
    const base = { id, directory, capacityBytes, token: TOKEN, ...(zone === undefined ? {} : { zone }) };
    const address = await this.#spawn(id, { ...base, port: 0 });
    const port = Number(address.split(':')[1]);
    const child = (): ChildProcess => {
      const running = this.#children.get(id);
      if (running === undefined) throw new Error(`no process ${id}`);
      return running;
    };
    const node: NodeProcess = {
      id,
      address,
      directory,
      kill: async () => {
        const running = child();
        if (running.exitCode !== null || running.signalCode !== null) return;
        running.kill('SIGKILL');
        await once(running, 'exit');
      },
      restart: async () => {
        await this.#spawn(id, { ...base, port });
      },
      freeze: () => void child().kill('SIGSTOP'),
      thaw: () => void child().kill('SIGCONT'),
    };
    this.nodes.push(node);
    return node;
  }

  /** A client of the cluster; closed with it. */
  client(options: Partial<DistributedStorageOptions> = {}): DistributedStorage {
    const nodes = this.nodes.map(({ id, address }) => ({ id, address }));
    const timeouts = { connectMs: 1000, requestMs: 3000 };
    const client = new DistributedStorage({ nodes, token: TOKEN, timeouts, ...options });
    this.#clients.push(client);
    return client;
  }

  node(id: string): NodeProcess {
    const node = this.nodes.find((candidate) => candidate.id === id);
    if (node === undefined) throw new Error(`no node ${id}`);
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    await Promise.all(
      [...this.#children.values()].map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        child.kill('SIGKILL');
        await once(child, 'exit');
      }),
    );
    await rm(this.root, { recursive: true, force: true });
  }

  async #spawn(id: string, options: object): Promise<string> {
    const child = spawn(
      process.execPath,
      [
        '--conditions=heptad-source',
        '--disable-warning=ExperimentalWarning',
        script,
        JSON.stringify(options),
      ],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    this.#children.set(id, child);
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    for await (const line of createInterface({ input: child.stdout })) return JSON.parse(line).address;
    throw new Error(`storage node ${id} did not start: ${errors}`);
  }
}

/** The file that holds an object on a node; waits for it, because a write is acknowledged before the last node has it. */
export async function fileOf(node: NodeProcess, bucket: string, key: string): Promise<string> {
  const id = objectId(bucket, key);
  const directory = join(node.directory, 'objects', id.slice(0, 2));
  let name: string | undefined;
  await eventually(async () => {
    name = (await readdir(directory)).find((file) => file.startsWith(id));
    return name !== undefined;
  }, `a file of ${bucket}/${key} on ${node.id}`);
  return join(directory, name ?? '');
}

/** Flips one bit of a file, counted from its end. */
export async function flipBit(path: string, fromEnd = 1): Promise<void> {
  const bytes = await readFile(path);
  const at = bytes.length - fromEnd;
  bytes[at] = (bytes[at] ?? 0) ^ 0x10;
  await writeFile(path, bytes);
}

/** Waits until `check` holds. */
export async function eventually(
  check: () => Promise<boolean>,
  what: string,
  limitMs = 20_000,
): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
