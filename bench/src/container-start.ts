// From "create" to a running process: Heptad, raw runc on the same bundle, and `docker run -d` of the same image.

import { execFile, spawn } from 'node:child_process';
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildNodeImage, ContainerEngine } from '@heptad/container';
import {
  type Benchmark,
  type BenchmarkOptions,
  type Contender,
  compare,
  type Ratio,
  type Row,
  timed,
} from './harness.ts';

const execute = promisify(execFile);
const IMAGE = 'heptad-bench/sleeper:1';
const COMMAND = ['/bin/sleep', '600'];
const BRIDGE = 'heptadbench0';

/** Containers of which nothing may be left when the benchmark ends. */
interface Peer extends AsyncDisposable {
  readonly version: string;
}

async function openEngine(home: string, say: (message: string) => void): Promise<ContainerEngine> {
  const app = join(home, 'app');
  await mkdir(app, { recursive: true });
  await writeFile(join(app, 'main.mjs'), 'setInterval(() => {}, 1000);\n');
  const engine = await ContainerEngine.open({
    home: join(home, 'engine'),
    runtime: 'oci',
    network: { bridgeName: BRIDGE, subnet: '10.213.0.0/24', masquerade: false },
  });
  say('building the image');
  await buildNodeImage({
    images: engine.images,
    name: IMAGE,
    directory: app,
    main: 'main.mjs',
    tools: ['/bin/sh', '/bin/sleep'],
    user: '0:0',
  });
  await engine.images.unpack(IMAGE);
  return engine;
}

/** A process that runs the command is the proof that the work was done. */
async function requireRunning(pid: number): Promise<void> {
  let commandLine = '';
  // Every side reports "started" an instant before the init replaces itself by the command.
  for (let attempt = 0; attempt < 200; attempt += 1) {
    commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8');
    if (commandLine === `${COMMAND.join('\0')}\0`) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`process ${pid} runs ${JSON.stringify(commandLine)}`);
}

function heptad(engine: ContainerEngine, network: 'none' | 'bridge'): Contender {
  let port = 42_000;
  return {
    who: 'heptad',
    once: async () => {
      let id = '';
      port += 1;
      const time = await timed(async () => {
        id = await engine.runtime.create({
          name: 'bench',
          image: IMAGE,
          entrypoint: [],
          command: COMMAND,
          network,
          ...(network === 'none' ? {} : { ports: [{ hostPort: port, containerPort: 80 }] }),
        });
        await engine.runtime.start(id);
      });
      await requireRunning((await engine.runtime.inspect(id)).pid ?? 0);
      await engine.runtime.remove(id, { force: true });
      return time;
    },
  };
}

/** runc with the config.json that Heptad wrote, on the same snapshots, mounted once and ahead. */
async function rawRunc(engine: ContainerEngine, home: string): Promise<Contender & Peer> {
  const id = await engine.runtime.create({
    name: 'template',
    image: IMAGE,
    entrypoint: [],
    command: COMMAND,
    network: 'none',
  });
  const bundle = join(home, 'bundle');
  await mkdir(bundle);
  const template = join(home, 'engine', 'oci', 'containers', id, 'bundle', 'config.json');
  const config = JSON.parse(await readFile(template, 'utf8'));
  config.linux.cgroupsPath = '/heptad-bench/runc';
  await writeFile(join(bundle, 'config.json'), JSON.stringify(config));
  const runc = ['--root', join(home, 'runc')];
  const { stdout } = await execute('runc', ['--version']);
  return {
    who: 'runc',
    version: /version (\S+)/.exec(stdout)?.[1] ?? 'unknown',
    once: async () => {
      const pidFile = join(bundle, 'pid');
      const time = await timed(() =>
        runQuietly('runc', [...runc, 'run', '--detach', '--bundle', bundle, '--pid-file', pidFile, 'bench']),
      );
      await requireRunning(Number(await readFile(pidFile, 'utf8')));
      await execute('runc', [...runc, 'delete', '--force', 'bench']);
      return time;
    },
    async [Symbol.asyncDispose]() {
      await engine.runtime.remove(id, { force: true });
      for (const controller of [
        'cpu',
        'cpuacct',
        'cpuset',
        'memory',
        'devices',
        'freezer',
        'blkio',
        'pids',
        'systemd',
        'unified',
        '',
      ]) {
        await execute('rmdir', [join('/sys/fs/cgroup', controller, 'heptad-bench')]).catch(() => undefined);
      }
    },
  };
}

/** Runs a program whose detached child keeps its output open: only its exit is awaited. */
function runQuietly(file: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, [...args], { stdio: 'ignore' });
    child.once('error', reject);
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`${file} ${args.join(' ')}: exit code ${code}`)),
    );
  });
}

/** A Docker daemon of our own, in a network namespace of its own, so that its firewall rules touch nothing else. */
async function startDocker(
  engine: ContainerEngine,
  home: string,
  options: BenchmarkOptions,
): Promise<Docker | undefined> {
  try {
    await access('/usr/sbin/dockerd');
  } catch {
    options.say('dockerd is not installed (apt-get install docker.io): measuring without Docker');
    return undefined;
  }
  const docker = new Docker(home);
  await docker.start();
  options.say('loading the image into Docker');
  const archive = join(home, 'image.tar');
  await engine.images.save([IMAGE], archive);
  await docker.command('load', '-i', archive);
  return docker;
}

class Docker implements Peer {
  version = 'unknown';
  private readonly home: string;
  private readonly namespace = `hbench-${process.pid}`;
  private daemon: ReturnType<typeof spawn> | undefined;

  constructor(home: string) {
    this.home = join(home, 'docker');
  }

  async start(): Promise<void> {
    await mkdir(this.home);
    await execute('ip', ['netns', 'add', this.namespace]);
    await execute('ip', ['-n', this.namespace, 'link', 'set', 'lo', 'up']);
    this.daemon = spawn(
      'nsenter',
      [
        `--net=/run/netns/${this.namespace}`,
        'dockerd',
        ...[
          '--data-root',
          join(this.home, 'data'),
          '--exec-root',
          join(this.home, 'exec'),
          '--pidfile',
          join(this.home, 'pid'),
        ],
        ...['--host', this.host, '--bip', '10.214.0.1/24', '--log-level', 'error'],
      ],
      { stdio: 'ignore' },
    );
    for (let attempt = 0; attempt < 300; attempt += 1) {
      const answer = await this.command('version', '--format', '{{.Server.Version}}').catch(() => undefined);
      if (answer !== undefined) {
        this.version = answer;
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error('dockerd did not answer within 30 s');
  }

  contender(network: 'none' | 'bridge'): Contender {
    let port = 43_000;
    return {
      who: 'docker',
      once: async () => {
        port += 1;
        const place = network === 'none' ? ['--network', 'none'] : ['--publish', `127.0.0.1:${port}:80`];
        const time = await timed(() =>
          this.command(
            'run',
            '--detach',
            '--name',
            'bench',
            ...place,
            '--entrypoint',
            COMMAND[0] ?? '',
            IMAGE,
            ...COMMAND.slice(1),
          ),
        );
        await requireRunning(Number(await this.command('inspect', '--format', '{{.State.Pid}}', 'bench')));
        await this.command('rm', '--force', 'bench');
        return time;
      },
    };
  }

  async command(...args: string[]): Promise<string> {
    const { stdout } = await execute('docker', ['--host', this.host, ...args]);
    return stdout.trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { daemon } = this;
    if (daemon !== undefined && daemon.exitCode === null) {
      const ended = new Promise((resolve) => daemon.once('exit', resolve));
      daemon.kill('SIGTERM');
      await ended;
    }
    await execute('ip', ['netns', 'delete', this.namespace]);
  }

  private get host(): string {
    return `unix://${join(this.home, 'docker.sock')}`;
  }
}

export const benchmark: Benchmark = {
  description: 'create and start a container until its process runs, the image being present',
  async run(options) {
    const home = await mkdtemp('/var/tmp/heptad-bench-');
    const rows: Row[] = [];
    const ratios: Ratio[] = [];
    try {
      await using engine = await openEngine(home, options.say);
      await using runc = await rawRunc(engine, home);
      await using docker = await startDocker(engine, home, options);
      const measure = async (name: string, contenders: readonly Contender[]): Promise<void> => {
        const results = await compare(
          { case: name, metric: 'time', unit: 'ms', contenders, rounds: 30 },
          options,
        );
        rows.push(...results.rows);
        ratios.push(...results.ratios);
      };
      await measure('no network', [
        heptad(engine, 'none'),
        runc,
        ...(docker ? [docker.contender('none')] : []),
      ]);
      if (docker) await measure('bridge, one port', [heptad(engine, 'bridge'), docker.contender('bridge')]);
      await engine.network?.removeBridge();
      const { version } = await engine.probe();
      return {
        rows,
        ratios,
        versions: {
          heptad: version ?? 'unknown',
          runc: runc.version,
          ...(docker ? { docker: docker.version } : {}),
        },
      };
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
};
