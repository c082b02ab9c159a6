// What TypeScript programs use: dockerode and testcontainers, against the engine's Docker-compatible API.

import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import Docker from 'dockerode';
import tar from 'tar-stream';
import { GenericContainer, Network, Wait } from 'testcontainers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BUSYBOX, noApi, ServedEngine } from './docker-api.ts';

let served: ServedEngine;
let docker: Docker;

beforeAll(async () => {
  if (noApi !== undefined) return;
  served = await ServedEngine.start();
  docker = new Docker({ socketPath: served.socketPath });
  process.env.DOCKER_HOST = `unix://${served.socketPath}`;
  // Its helper container would have to be pulled from the internet.
  process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';
  // On a machine with a /.dockerenv it would look for ports at the bridge's gateway, where ports are not by default.
  process.env.TESTCONTAINERS_HOST_OVERRIDE = '127.0.0.1';
}, 60_000);

afterAll(async () => {
  delete process.env.DOCKER_HOST;
  delete process.env.TESTCONTAINERS_RYUK_DISABLED;
  delete process.env.TESTCONTAINERS_HOST_OVERRIDE;
  await served?.[Symbol.asyncDispose]();
}, 60_000);

async function textOf(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}

/** Both streams of a multiplexed one. */
async function split(stream: NodeJS.ReadableStream): Promise<{ stdout: string; stderr: string }> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  docker.modem.demuxStream(stream, stdout, stderr);
  stream.on('end', () => {
    stdout.end();
    stderr.end();
  });
  const [out, error] = await Promise.all([textOf(stdout), textOf(stderr)]);
  return { stdout: out, stderr: error };
}

describe.skipIf(noApi !== undefined)('dockerode', () => {
  it('starts a container, follows its log, waits for its end, removes it', async () => {
    const container = await docker.createContainer({
      Image: BUSYBOX,
      Cmd: ['sh', '-c', 'echo out; echo err >&2; sleep 0.3; echo later; exit 4'],
      Labels: { by: 'dockerode' },
    });
    await container.start();
    const log = await container.logs({ follow: true, stdout: true, stderr: true });
    expect(await split(log)).toEqual({ stdout: 'out\nlater\n', stderr: 'err\n' });
    expect(await container.wait()).toMatchObject({ StatusCode: 4 });
    expect((await container.inspect()).State).toMatchObject({ Status: 'exited', ExitCode: 4 });
    await container.remove();
    await expect(container.inspect()).rejects.toMatchObject({ statusCode: 404 });
  });

  it('attaches with input: hijacked, half-closed, and the output after that arrives whole', async () => {
    const container = await docker.createContainer({
      Image: BUSYBOX,
      Cmd: ['sh', '-c', 'wc -c; seq 1 5'],
      OpenStdin: true,
      StdinOnce: true,
    });
    const stream = await container.attach({
      stream: true,
      stdin: true,
      stdout: true,
      stderr: true,
      hijack: true,
    });
    const output = split(stream);
    await container.start();
    stream.end('x'.repeat(70_000));
    expect(await output).toEqual({ stdout: '70000\n1\n2\n3\n4\n5\n', stderr: '' });
    await container.remove({ force: true });
  });

  it('executes: output, exit code, and input to its end', async () => {
    const container = await docker.createContainer({ Image: BUSYBOX, Cmd: ['sleep', '1000'] });
    await container.start();
    const exec = await container.exec({
      Cmd: ['sh', '-c', 'cat; echo done >&2; exit 9'],
      AttachStdin: true,
      AttachStdout: true,
      AttachStderr: true,
    });
    const stream = await exec.start({ hijack: true, stdin: true });
    const output = split(stream);
    stream.end('typed');
    expect(await output).toEqual({ stdout: 'typed', stderr: 'done\n' });
    expect(await exec.inspect()).toMatchObject({ Running: false, ExitCode: 9 });
    await container.remove({ force: true });
  });

  it('a terminal: raw output, a size, and the size can change', async () => {
    const container = await docker.createContainer({
      Image: BUSYBOX,
      Cmd: ['sh', '-c', 'read line; stty size; echo got $line'],
      Tty: true,
      OpenStdin: true,
    });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
    const output = textOf(stream as unknown as Readable);
    await container.start();
    await container.resize({ h: 33, w: 99 });
    stream.write('hello\n');
    expect(await output).toMatch(/33 99\r\ngot hello\r\n/);
    await container.remove({ force: true });
  });

  it('copies an archive in and out', async () => {
    const container = await docker.createContainer({ Image: BUSYBOX, Cmd: ['sleep', '1000'] });
    const pack = tar.pack();
    pack.entry({ name: 'note.txt', mode: 0o640 }, 'copied by dockerode');
    pack.finalize();
    await container.putArchive(pack as unknown as NodeJS.ReadableStream, { path: '/tmp' });
    const archive = await container.getArchive({ path: '/tmp/note.txt' });
    const extract = tar.extract();
    archive.pipe(extract as unknown as NodeJS.WritableStream);
    const found: string[] = [];
    for await (const entry of extract)
      found.push(`${entry.header.name} ${await textOf(entry as unknown as Readable)}`);
    expect(found).toEqual(['note.txt copied by dockerode']);
    await container.remove();
  });

  it('hears events, and tells of an error inside a stream of progress', async () => {
    const events = (await docker.getEvents({ filters: { event: ['create'] } })) as Readable;
    const container = await docker.createContainer({ Image: BUSYBOX, name: `seen-${process.pid}` });
    const [line] = await once(events, 'data');
    expect(JSON.parse(String(line))).toMatchObject({ Action: 'create', Actor: { ID: container.id } });
    events.destroy();
    await container.remove();
    const pull = await docker.pull('127.0.0.1:9/nothing:1');
    // dockerode itself does not look at what the lines say; its users must.
    const lines = await new Promise((resolve) =>
      docker.modem.followProgress(pull, (_error, all) => resolve(all)),
    );
    expect(lines).toContainEqual(expect.objectContaining({ error: expect.stringContaining('127.0.0.1:9') }));
  });

  it('lists images, volumes and networks', async () => {
    expect((await docker.listImages()).flatMap(({ RepoTags }) => RepoTags)).toContain(BUSYBOX);
    const volume = await docker.createVolume({ Name: `v${process.pid}` });
    expect((await docker.listVolumes()).Volumes.map(({ Name }) => Name)).toContain(`v${process.pid}`);
    await docker.getVolume(volume.name).remove();
    expect((await docker.listNetworks()).map(({ Name }) => Name)).toEqual(['bridge', 'host', 'none']);
  });
});

describe.skipIf(noApi !== undefined)('testcontainers', () => {
  it('starts and waits until it answers, executes, follows the log, stops', async () => {
    const lines: string[] = [];
    const started = await new GenericContainer(BUSYBOX)
      .withCommand([
        'sh',
        '-c',
        'mkdir /www; echo welcome > /www/index.html; echo serving; httpd -f -p 8080 -h /www',
      ])
      .withExposedPorts(8080)
      .withEnvironment({ COLOUR: 'green' })
      .withLogConsumer((log) => log.on('data', (line) => lines.push(String(line).trim())))
      .withWaitStrategy(Wait.forAll([Wait.forListeningPorts(), Wait.forLogMessage('serving')]))
      .start();
    const answer = await fetch(`http://${started.getHost()}:${started.getMappedPort(8080)}/index.html`);
    expect(await answer.text()).toBe('welcome\n');
    expect(await started.exec(['sh', '-c', 'echo $COLOUR; exit 3'])).toMatchObject({
      output: 'green\n',
      exitCode: 3,
    });
    expect(lines).toContain('serving');
    const id = started.getId();
    await started.stop();
    await expect(docker.getContainer(id).inspect()).rejects.toMatchObject({ statusCode: 404 });
  });

  it('copies files and content into a container', async () => {
    const directory = await mkdtemp(join(served.home, 'copy-'));
    await writeFile(join(directory, 'file.txt'), 'from a file');
    const started = await new GenericContainer(BUSYBOX)
      .withCommand(['sleep', '1000'])
      .withCopyFilesToContainer([{ source: join(directory, 'file.txt'), target: '/etc/file.txt' }])
      .withCopyContentToContainer([{ content: 'from memory', target: '/etc/content.txt' }])
      .start();
    const { output } = await started.exec(['cat', '/etc/file.txt', '/etc/content.txt']);
    expect(output).toBe('from a filefrom memory');
    expect(await textOf((await started.copyArchiveFromContainer('/etc/file.txt')) as Readable)).toContain(
      'from a file',
    );
    await started.stop();
    await rm(directory, { recursive: true });
  });

  it('networks: one container asks another by its alias; health checks are waited for', async () => {
    const network = await new Network().start();
    const server = await new GenericContainer(BUSYBOX)
      .withNetwork(network)
      .withNetworkAliases('server')
      .withCommand(['sh', '-c', 'mkdir /www; echo found > /www/index.html; httpd -f -p 80 -h /www'])
      .withHealthCheck({
        test: ['CMD', 'wget', '-q', '-O-', 'http://127.0.0.1/'],
        interval: 200,
        timeout: 2000,
        retries: 20,
      })
      .withWaitStrategy(Wait.forHealthCheck())
      .start();
    const client = await new GenericContainer(BUSYBOX)
      .withNetwork(network)
      .withCommand(['sleep', '1000'])
      .start();
    expect(await client.exec(['wget', '-q', '-O-', 'http://server/'])).toMatchObject({
      output: 'found\n',
      exitCode: 0,
    });
    await client.stop();
    await server.stop();
    await network.stop();
  });
});
