// A Docker Engine of the tests' own: its own socket, data and bridge, gone without a trace afterwards.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../src/system/command.ts';

const START_MS = 60_000;
const number = process.pid % 200;

/** Why Docker cannot be tested here; undefined when it can. With CI=true a missing daemon is a failure. */
export const noDocker: string | undefined = whyNot();

function whyNot(): string | undefined {
  const missing =
    process.getuid?.() !== 0
      ? 'only root can start dockerd'
      : existsSync('/usr/sbin/dockerd')
        ? undefined
        : 'dockerd is not installed (Debian: apt-get install docker.io)';
  if (missing !== undefined && process.env.CI === 'true')
    throw new Error(`Docker must work in CI: ${missing}`);
  if (missing !== undefined) process.stderr.write(`skipped: ${missing}\n`);
  return missing;
}

/** A running dockerd. */
export class DockerDaemon implements AsyncDisposable {
  readonly base: string;
  readonly socketPath: string;
  /** A bridge network of this daemon, with addresses that the host reaches. */
  readonly network: string = 'heptad-test';
  private readonly bridge: string = `hptd${number}`;
  private process: ChildProcess | undefined;

  private constructor(base: string) {
    this.base = base;
    this.socketPath = join(base, 'docker.sock');
  }

  /** Starts one. */
  static async start(): Promise<DockerDaemon> {
    const daemon = new DockerDaemon(await mkdtemp(join(tmpdir(), 'hptd-')));
    try {
      await daemon.launch();
      await daemon.cli(
        'network',
        'create',
        '-d',
        'bridge',
        '--subnet',
        `10.212.${number}.0/24`,
        '-o',
        `com.docker.network.bridge.name=${daemon.bridge}`,
        daemon.network,
      );
      return daemon;
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Runs the `docker` client against it; answers what it printed. */
  async cli(...args: string[]): Promise<string> {
    const result = await run('/usr/bin/docker', ['-H', `unix://${this.socketPath}`, ...args], {
      timeoutMs: START_MS,
    });
    if (result.exitCode !== 0) throw new Error(`docker ${args.join(' ')}: ${result.stderr}`);
    return result.stdout;
  }

  /** Starts the daemon process over what is there. */
  async launch(): Promise<void> {
    const { base } = this;
    const child = spawn(
      '/usr/sbin/dockerd',
      [
        ...['--data-root', join(base, 'data'), '--exec-root', join(base, 'exec')],
        ...['-H', `unix://${this.socketPath}`, '--pidfile', join(base, 'pid')],
        ...[
          '--bridge=none',
          '--iptables=false',
          '--ip6tables=false',
          '--ip-forward=false',
          '--ip-masq=false',
        ],
        ...['--containerd-namespace', `hptd${number}`, '--log-level', 'warn'],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH } },
    );
    this.process = child;
    let said = '';
    child.stderr.on('data', (text) => {
      said = (said + String(text)).slice(-4000);
    });
    const deadline = Date.now() + START_MS;
    while ((await this.cli('version').catch(() => undefined)) === undefined) {
      if (child.exitCode !== null || Date.now() > deadline) throw new Error(`dockerd did not start: ${said}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Ends the daemon process; containers end with it. */
  async halt(): Promise<void> {
    const child = this.process;
    this.process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.halt();
    await run('ip', ['link', 'delete', this.bridge]);
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
    const points = mounts
      .map((line) => line.split(' ')[4] ?? '')
      .filter((point) => point.startsWith(`${this.base}/`));
    for (const point of points.reverse()) await run('umount', ['-l', point]);
    await rm(this.base, { recursive: true, force: true });
  }
}
