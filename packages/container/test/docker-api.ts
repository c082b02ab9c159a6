// An engine with the Docker-compatible API in front of it, and programs that talk to it.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ContainerEngine } from '@heptad/container';
import { DockerApiServer } from '@heptad/container/docker-api';
import { noBusybox, writeBusyboxArchive } from './busybox-image.ts';
import { noContainers } from './support.ts';

export const BUSYBOX = 'busybox:test';
const number = process.pid % 200;
// A command that takes longer hangs; on a busy machine a container may take seconds to start.
const COMMAND_MS = 60_000;

/** Docker's clients on this machine: Debian's, and another if there is one. */
export const CLIENTS: readonly string[] = ['/usr/bin/docker', '/usr/local/bin/docker'].filter((path) =>
  existsSync(path),
);

/** Why the API cannot be tested here with a client. */
export const noApi: string | undefined = noContainers ?? noBusybox ?? noClient();

function noClient(): string | undefined {
  if (CLIENTS.length > 0) return undefined;
  const why = 'there is no docker client (Debian: apt-get install docker.io)';
  if (process.env.CI === 'true') throw new Error(why);
  return why;
}

/** What a program did. */
export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The engine behind the API, with {@link BUSYBOX}. */
export class ServedEngine implements AsyncDisposable {
  readonly home: string;
  readonly engine: ContainerEngine;
  readonly server: DockerApiServer;
  readonly socketPath: string;

  private constructor(home: string, engine: ContainerEngine, server: DockerApiServer, socketPath: string) {
    this.home = home;
    this.engine = engine;
    this.server = server;
    this.socketPath = socketPath;
  }

  static async start(): Promise<ServedEngine> {
    const home = await mkdtemp(join(tmpdir(), 'hpta-'));
    const engine = await ContainerEngine.open({
      home,
      runtime: 'oci',
      network: { bridgeName: `hpta${number}`, subnet: `10.215.${number}.0/24` },
    });
    const archive = join(home, 'busybox.tar');
    await writeBusyboxArchive(archive, BUSYBOX, { ExposedPorts: { '8080/tcp': {} } });
    await engine.images.load(archive);
    const socketPath = join(home, 'docker.sock');
    const server = await DockerApiServer.start({ engine, socketPath });
    return new ServedEngine(home, engine, server, socketPath);
  }

  /** Runs a docker client against the API. */
  docker(client: string, args: readonly string[], input = ''): Promise<Ran> {
    const child = spawn(client, args, {
      env: {
        PATH: process.env.PATH,
        HOME: this.home,
        DOCKER_HOST: `unix://${this.socketPath}`,
        DOCKER_BUILDKIT: '0',
      },
      timeout: COMMAND_MS,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text) => {
      stdout += String(text);
    });
    child.stderr.on('data', (text) => {
      stderr += String(text);
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve({ code, stdout, stderr }));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close();
    for (const { id } of await this.engine.runtime.list())
      await this.engine.runtime.remove(id, { force: true });
    // Those of a test that failed, too.
    for (const { name } of await this.engine.networks.list())
      if (name !== 'bridge') await this.engine.networks.remove(name);
    await this.engine.network?.removeBridge();
    await this.engine.close();
    await rm(this.home, { recursive: true, force: true });
  }
}
