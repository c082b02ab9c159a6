// DockerRuntime against a real Docker Engine: the whole contract, and what is special about a daemon.

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DockerRuntime, type ImageStore } from '@heptad/container';
import { type ContainerRuntime, isHeptadError } from '@heptad/core';
import { type ContainerRuntimeHarness, containerRuntimeConformance } from '@heptad/core/conformance';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DockerDaemon, noDocker } from './docker-daemon.ts';
import { IMAGE, temporaryDirectory, testImages } from './support.ts';

let base: string;
let daemon: DockerDaemon;
let images: ImageStore;

beforeAll(async () => {
  if (noDocker !== undefined) return;
  base = await temporaryDirectory();
  images = await testImages(base);
  daemon = await DockerDaemon.start();
  const archive = join(base, 'image.tar');
  await images.save([IMAGE], archive);
  await using docker = await open(join(base, 'loader'), 'loader');
  expect(await docker.load(archive)).toEqual([IMAGE]);
}, 120_000);

afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
  if (base !== undefined) await rm(base, { recursive: true, force: true });
}, 60_000);

function open(home: string, owner: string): Promise<DockerRuntime> {
  return DockerRuntime.open({
    home,
    owner,
    socketPath: daemon.socketPath,
    defaultNetwork: daemon.network,
    secretsDirectory: `/dev/shm/${owner}`,
  });
}

class Harness implements ContainerRuntimeHarness {
  readonly image = IMAGE;
  readonly missingImage = 'heptad-test/missing:1';
  runtime: ContainerRuntime;
  private owned: DockerRuntime;
  readonly home: string;
  private readonly owner: string;

  constructor(runtime: DockerRuntime, home: string, owner: string) {
    this.runtime = runtime;
    this.owned = runtime;
    this.home = home;
    this.owner = owner;
  }

  async crash(): Promise<ContainerRuntime> {
    await this.owned[Symbol.asyncDispose]();
    this.owned = await open(this.home, this.owner);
    this.runtime = this.owned;
    return this.owned;
  }

  async leftovers(id: string): Promise<string[]> {
    const found = (await daemon.cli('ps', '-aq', '--no-trunc')).split('\n').filter((line) => line === id);
    const secrets = await readdir(`/dev/shm/${this.owner}`).catch(() => []);
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
    return [...found, ...secrets, ...mounts.filter((line) => line.includes(id))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { id } of await this.owned.list()) await this.owned.remove(id, { force: true });
    await this.owned[Symbol.asyncDispose]();
    await rm(this.home, { recursive: true, force: true });
    await rm(`/dev/shm/${this.owner}`, { recursive: true, force: true });
  }
}

let counter = 0;

async function harness(): Promise<Harness> {
  counter += 1;
  const owner = `heptad-test-${process.pid}-${counter}`;
  const home = await mkdtemp(join(tmpdir(), 'heptad-docker-'));
  return new Harness(await open(home, owner), home, owner);
}

describe.skipIf(noDocker !== undefined)('DockerRuntime keeps the contract', () => {
  for (const { name, run } of containerRuntimeConformance) it(name, () => run(harness));
});

describe.skipIf(noDocker !== undefined)('DockerRuntime and its daemon', () => {
  it('rejects for an error that the engine reports inside a stream that began with 200', async () => {
    await using one = await harness();
    const docker = one.runtime as DockerRuntime;
    const archive = join(one.home, 'cut.tar');
    const whole = await readFile(join(base, 'image.tar'));
    await writeFile(archive, whole.subarray(0, whole.length - 40_000));
    await expect(docker.load(archive)).rejects.toThrow(/Docker says|found no image/);
    await expect(docker.load(join(one.home, 'missing.tar'))).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
    });
    await expect(docker.pull('127.0.0.1:9/nothing:1')).rejects.toThrow(/cannot pull 127\.0\.0\.1:9/);
  });

  it('touches no container of another owner', async () => {
    await using mine = await harness();
    await using other = await harness();
    const id = await other.runtime.create({ name: `other-${process.pid}`, image: IMAGE });
    expect(await mine.runtime.list()).toEqual([]);
    await expect(mine.runtime.remove(id, { force: true })).rejects.toMatchObject({
      code: 'CONTAINER_NOT_FOUND',
    });
    expect(await other.runtime.list()).toHaveLength(1);
  });

  it('says that a published port is taken, and that a path is missing', async () => {
    await using one = await harness();
    const name = (what: string): string => `${what}-${process.pid}`;
    const mounts = [{ type: 'bind', source: '/no/such/path', target: '/x' }] as const;
    await expect(one.runtime.create({ name: name('bind'), image: IMAGE, mounts })).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
    });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const hostPort = typeof address === 'object' && address !== null ? address.port : 0;
    const ports = [{ hostPort, containerPort: 80 }];
    const id = await one.runtime.create({ name: name('port'), image: IMAGE, ports });
    await expect(one.runtime.start(id)).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    await new Promise((resolve) => server.close(resolve));
  });

  it('goes on after a restart of the daemon: containers known, events without gap or repetition', async () => {
    await using one = await harness();
    const id = await one.runtime.create({
      name: `through-${process.pid}`,
      image: IMAGE,
      command: ['-e', 'process.exit(3)'],
      entrypoint: ['node'],
    });
    await daemon.halt();
    await expect(one.runtime.inspect(id)).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
    await daemon.launch();
    await one.runtime.start(id);
    expect((await one.runtime.wait(id)).exitCode).toBe(3);
    await one.runtime.remove(id);
    const types: string[] = [];
    for await (const event of one.runtime.events({ since: 0 })) {
      expect(event.sequence).toBe(types.length + 1);
      types.push(event.type);
      if (event.type === 'remove') break;
    }
    expect(types).toEqual(['create', 'start', 'die', 'remove']);
  });
});

async function refusal(socketPath: string): Promise<{ message: string; hint?: string | undefined }> {
  const home = await mkdtemp(join(tmpdir(), 'heptad-docker-'));
  try {
    const runtime = await DockerRuntime.open({ home, socketPath });
    await runtime[Symbol.asyncDispose]();
    throw new Error('it opened');
  } catch (error) {
    if (!isHeptadError(error, 'RUNTIME_UNAVAILABLE')) throw error;
    return error;
  } finally {
    await rm(home, { recursive: true });
  }
}

/** A server on a Unix socket that answers everything with `reply`. */
async function impostor(directory: string, reply: string): Promise<{ path: string; server: Server }> {
  const path = join(directory, 'impostor.sock');
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(reply));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return { path, server };
}

describe('a socket that is no Docker Engine is refused with what to do', () => {
  it('says that there is no socket', async () => {
    const { message, hint } = await refusal('/no/such/docker.sock');
    expect(message).toContain('there is no socket /no/such/docker.sock');
    expect(hint).toContain('start Docker');
  });

  it('says that nobody listens, and that something else does', async () => {
    const directory = await temporaryDirectory();
    const { path, server } = await impostor(directory, 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
    expect((await refusal(path)).message).toContain('not a Docker Engine');
    await new Promise((resolve) => server.close(resolve));
    expect((await refusal(join(directory, '..'))).message).toMatch(/not a socket|nobody listens|may not use/);
    await rm(directory, { recursive: true });
  });
});
