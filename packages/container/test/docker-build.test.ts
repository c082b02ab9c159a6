// `docker build` with Docker's own clients, and what only the API itself can be asked.

import { spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CLIENTS, noApi, ServedEngine } from './docker-api.ts';
import { rawTar } from './raw-tar.ts';
import { whyNot } from './registry-support.ts';

const missing = noApi ?? whyNot(['buildah']);

let served: ServedEngine;
let context: string;

/** Posts a context; answers the status and the lines. */
async function post(query: string, body: Uint8Array): Promise<{ status: number; lines: unknown[] }> {
  return await new Promise((resolve, reject) => {
    const path = `/v1.41/build?${query}`;
    const options = { socketPath: served.socketPath, method: 'POST', path };
    const sent = request(options, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += String(chunk);
      });
      response.on('end', () => {
        const lines = text.trim().split('\n');
        resolve({ status: response.statusCode ?? 0, lines: lines.map((line): unknown => JSON.parse(line)) });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

async function tarOf(directory: string): Promise<Buffer> {
  const child = spawn('tar', ['-c', '-C', directory, '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

beforeAll(async () => {
  if (missing === undefined) served = await ServedEngine.start();
}, 60_000);

afterAll(async () => {
  await served?.[Symbol.asyncDispose]();
}, 60_000);

beforeEach(async () => {
  if (missing !== undefined) return;
  context = await mkdtemp(join(served.home, 'context-'));
  await copyFile('/bin/busybox', join(context, 'busybox'));
});

const FROM_SCRATCH =
  'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n';
const dockerfile = async (text: string, name = 'Dockerfile'): Promise<void> =>
  await writeFile(join(context, name), text);

describe.skipIf(missing !== undefined).each(CLIENTS)('%s build', (client) => {
  const docker = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await served.docker(client, args);
    expect(code, `docker ${args.join(' ')}: ${stderr}${stdout}`).toBe(0);
    return stdout.trim();
  };
  const image = `built/${client.length}`;

  it('makes an image with its names, labels, arguments and target, and it runs', async () => {
    await dockerfile(
      `${FROM_SCRATCH}ARG WHO=nobody\nRUN echo "hello $WHO" > /hello\nCMD ["/bin/cat", "/hello"]\nFROM scratch AS other\n`.replace(
        'FROM scratch\n',
        'FROM scratch AS first\n',
      ),
      'my.Dockerfile',
    );
    const said = await docker(
      ...['build', '-t', `${image}:1`, '-t', `${image}:2`, '-f', join(context, 'my.Dockerfile')],
      ...[
        '--label',
        'of=test',
        '--build-arg',
        'WHO=you',
        '--build-arg',
        'UNSET_HERE',
        '--target',
        'first',
        context,
      ],
    );
    expect(said).toMatch(/RUN echo "hello/);
    expect(said).toMatch(
      new RegExp(
        `Successfully built [0-9a-f]{12}\nSuccessfully tagged ${image}:1\nSuccessfully tagged ${image}:2$`,
      ),
    );
    expect(await docker('run', '--rm', `${image}:2`)).toBe('hello you');
    expect(await docker('image', 'inspect', '-f', '{{.Config.Labels.of}}', `${image}:1`)).toBe('test');
    expect(await readdir(join(served.home, 'docker-api', 'builds'))).toEqual([]);
    await docker('rmi', `${image}:1`, `${image}:2`);
  });

  it('stands on an image of the engine; -q says the id alone, and an image without a name is kept', async () => {
    await dockerfile('FROM busybox:test\nRUN echo 1 > /one\n');
    const id = await docker('build', '-q', context);
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await docker('run', '--rm', id, 'cat', '/one')).toBe('1');
    await docker('rmi', id);
  });

  it('ends with the exit code of the step that failed, and leaves no image', async () => {
    await dockerfile(`${FROM_SCRATCH}RUN echo "no such luck" >&2; exit 7\n`);
    const { code, stdout, stderr } = await served.docker(client, ['build', '-t', `${image}:fails`, context]);
    expect(code, stderr).toBe(7);
    expect(stdout + stderr).toMatch(/no such luck/);
    expect(stderr).toMatch(/^Error: building at STEP "RUN echo .*exit status 7$/m);
    expect(stderr).not.toMatch(/^STEP/m);
    expect(await docker('images', '-q', `${image}:fails`)).toBe('');
  });

  it('refuses by name what it cannot keep', async () => {
    await dockerfile('FROM scratch\n');
    const { code, stderr } = await served.docker(client, ['build', '--memory', '64m', '-t', image, context]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/memory=67108864 is not supported/);
  });
});

describe.skipIf(missing !== undefined)('POST /build', () => {
  it('builds a Node.js application when there is no Dockerfile, from a compressed context', async () => {
    await rm(join(context, 'busybox'));
    await writeFile(join(context, 'package.json'), '{"name":"app","main":"main.mjs"}');
    await writeFile(join(context, 'main.mjs'), 'console.log("built by node")');
    const { status, lines } = await post('t=app:1', gzipSync(await tarOf(context)));
    expect(status).toBe(200);
    expect(lines.at(-1)).toEqual({ stream: 'Successfully tagged app:1\n' });
    const { manifest } = await served.engine.images.inspect('app:1');
    expect(lines).toContainEqual({ aux: { ID: manifest.config.digest } });
    expect((await post('t=app:1&target=x', await tarOf(context))).status).toBe(400);
  });

  it('tells of a base image that cannot be had in the stream', async () => {
    await dockerfile('FROM 127.0.0.1:1/no/such:1\n');
    const { status, lines } = await post('t=x', await tarOf(context));
    expect(status).toBe(200);
    expect(lines.at(-1)).toMatchObject({ error: expect.stringContaining('127.0.0.1:1') });
  });

  it('reads nothing outside the context', async () => {
    await symlink('/etc/passwd', join(context, 'Dockerfile'));
    expect(await post('t=x', await tarOf(context))).toMatchObject({ status: 400 });
    expect(await post('t=x&dockerfile=../../x', await tarOf(context))).toMatchObject({ status: 400 });
    await rm(join(context, 'Dockerfile'));
    await mkdir(join(context, 'd'));
    expect(await post('t=x&dockerfile=d/none', await tarOf(context))).toMatchObject({ status: 404 });
    const escaping = rawTar({ name: '../escaped', content: 'x' });
    expect(await post('t=x', escaping)).toMatchObject({
      status: 400,
      lines: [{ message: expect.stringContaining('../escaped') }],
    });
    expect(await post('t=x', Buffer.from('no archive'.repeat(100)))).toMatchObject({ status: 400 });
    expect(await post('t=UPPER', await tarOf(context))).toMatchObject({ status: 400 });
    expect(await readdir(join(served.home, 'docker-api', 'builds'))).toEqual([]);
  });
});
