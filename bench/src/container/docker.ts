// Docker as the peer of container benchmarks.

import { execFile, spawn } from 'node:child_process';
import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ContainerEngine } from '@heptad/container';
import type { BenchmarkOptions } from '../harness.ts';
import { COMMAND, IMAGE } from './sleeper.ts';

const execute = promisify(execFile);

/** Starts it with the engine's image; undefined when Docker is not installed. */
export async function startDocker(
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

/** A Docker daemon of our own, in a network namespace of its own, so that its firewall rules touch nothing else. */
export class Docker implements AsyncDisposable {
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

  /** `docker run -d` of the sleeper without a network. */
  runSleeper(name: string): Promise<string> {
    const place = ['--network', 'none', '--entrypoint', ''];
    return this.command('run', '-d', '--name', name, ...place, IMAGE, ...COMMAND);
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
