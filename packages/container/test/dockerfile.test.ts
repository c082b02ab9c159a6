// A Dockerfile becomes an image of our store by buildah, on images of our store only.

import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildDockerfile, buildImage, buildNodeImage, ContainerEngine, ImageStore } from '@heptad/container';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { whyNot } from './registry-support.ts';
import { noContainers, temporaryDirectory } from './support.ts';

const missing = whyNot(['buildah', 'busybox']);

describe.skipIf(missing !== undefined)('a Dockerfile', () => {
  let home: string;
  let images: ImageStore;
  let context: string;
  let count = 0;

  beforeAll(async () => {
    home = await temporaryDirectory();
    images = await ImageStore.open({ home: join(home, 'images') });
  });

  afterAll(async () => {
    await rm(home, { recursive: true, force: true });
  });

  beforeEach(async () => {
    count += 1;
    context = join(home, `context-${count}`);
    await mkdir(context);
    await copyFile('/bin/busybox', join(context, 'busybox'));
  });

  const BUSYBOX =
    'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n';
  const dockerfile = async (text: string, name = 'Dockerfile'): Promise<void> =>
    await writeFile(join(context, name), text);

  it('from scratch is built, shown as it goes, and is in our store', async () => {
    await dockerfile(`${BUSYBOX}RUN echo made > /made\nENV A=1\nUSER 5\nCMD ["/bin/cat", "/made"]\n`);
    const lines: string[] = [];
    const built = await buildImage({
      images,
      name: 'made:1',
      directory: context,
      labels: { of: 'test' },
      onProgress: ({ message }) => lines.push(message),
    });
    expect(lines.join('\n')).toMatch(/STEP 4\/8: RUN echo made/);
    expect(built.name).toBe('made:1');
    const image = await images.inspect('made:1');
    expect(image.digest).toBe(built.digest);
    expect(image.config.config).toMatchObject({
      User: '5',
      Cmd: ['/bin/cat', '/made'],
      Labels: { of: 'test' },
    });
    expect(image.config.config.Env).toContain('A=1');
    expect((await images.list()).map(({ name }) => name)).toEqual(['made:1']);
    expect(await readdir(join(images.home, 'buildah/tmp'))).toEqual([]);
    // buildah's storage mounts itself; those mounts end with it.
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(images.home);
  });

  it('is the same image when it is built again, without its steps being run', async () => {
    await dockerfile(`${BUSYBOX}RUN date > /date\n`);
    const first = await buildDockerfile({ images, name: 'again', directory: context });
    const lines: string[] = [];
    const second = await buildDockerfile({
      images,
      name: 'again',
      directory: context,
      onProgress: ({ message }) => lines.push(message),
    });
    expect(second.digest).toBe(first.digest);
    expect(lines.join('\n')).toMatch(/Using cache/);
  });

  it.skipIf(noContainers !== undefined)('stands on an image of ours, by a variable, and runs', async () => {
    await writeFile(join(context, 'main.mjs'), 'console.log("base", process.version)');
    await buildNodeImage({
      images,
      name: 'team/node:24',
      directory: context,
      main: 'main.mjs',
      user: 'root',
    });
    await dockerfile(
      [
        'ARG TAG=1',
        `FROM team/node:\${TAG} AS base`,
        'FROM base',
        'ARG WHO',
        'RUN echo "hello $WHO" > /hello',
        `RUN node -e 'require("fs").appendFileSync("/hello", "from node")'`,
        `ENTRYPOINT ["node", "-e", "console.log(require('fs').readFileSync('/hello', 'utf8'))"]`,
        'CMD []',
      ].join('\n'),
    );
    const args = { TAG: '24', WHO: 'you' };
    await buildDockerfile({ images, name: 'on-ours', directory: context, args });
    await using engine = await ContainerEngine.open({
      home: join(home, 'engine'),
      imagesHome: images.home,
      network: 'none',
    });
    const container = await engine.run({ name: 'c', image: 'on-ours' });
    await container.wait();
    const lines: string[] = [];
    for await (const { text } of container.logs()) lines.push(text);
    expect(lines.join('\n')).toMatch(/hello you\nfrom node/);
    await container.remove();
  });

  it('that stands on an image that is not here is refused, or has it pulled, but never by buildah', async () => {
    await dockerfile('FROM registry.invalid/base:1\n');
    await expect(buildDockerfile({ images, name: 'x', directory: context })).rejects.toMatchObject({
      code: 'IMAGE_NOT_FOUND',
      hint: expect.stringContaining('heptad image pull registry.invalid/base:1'),
    });
    const asked: string[] = [];
    const pull = async (reference: string): Promise<void> => {
      asked.push(reference);
      await images.tag('made:1', reference);
    };
    await buildDockerfile({ images, name: 'x', directory: context, pull });
    expect(asked).toEqual(['registry.invalid/base:1']);
  });

  it('does not get round the trust policy', async () => {
    await dockerfile('FROM made:1\n');
    const trust = { version: 1, rules: [{ prefix: 'made', action: 'deny' }] } as const;
    const strict = await ImageStore.open({ home: images.home, trust });
    await expect(buildDockerfile({ images: strict, name: 'x', directory: context })).rejects.toMatchObject({
      code: 'IMAGE_NOT_TRUSTED',
    });
  });

  it('with a step that fails says which and what it said, and leaves no image', async () => {
    await dockerfile(`${BUSYBOX}RUN echo "no such luck" >&2; exit 7\n`);
    await expect(buildDockerfile({ images, name: 'fails', directory: context })).rejects.toMatchObject({
      code: 'BUILD_FAILED',
      message: expect.stringMatching(/no such luck[\s\S]*exit status 7/),
    });
    await expect(images.inspect('fails')).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
    await expect(
      buildDockerfile({ images, name: 'x', directory: context, dockerfile: join(context, 'No') }),
    ).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' });
  });

  it('stops when it is told to', async () => {
    await dockerfile(`${BUSYBOX}RUN sleep 600\n`);
    const controller = new AbortController();
    await expect(
      buildDockerfile({
        images,
        name: 'stopped',
        directory: context,
        signal: controller.signal,
        onProgress: ({ message }) => {
          if (message.includes('sleep 600')) controller.abort(new Error('enough'));
        },
      }),
    ).rejects.toThrow('enough');
    expect(await readdir(join(images.home, 'buildah/tmp'))).toEqual([]);
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(images.home);
  });

  it('beside a package.json is left alone unless it is named', async () => {
    await dockerfile('FROM scratch\n');
    await writeFile(join(context, 'package.json'), '{"name":"app"}');
    await writeFile(join(context, 'index.js'), '');
    const small = { images, directory: context, nodeBinary: '/bin/true', tools: [], sbom: false };
    await buildImage({ ...small, name: 'node' });
    expect((await images.inspect('node')).config.config.WorkingDir).toBe('/app');
    await dockerfile(`${BUSYBOX}WORKDIR /docker\n`, 'other.Dockerfile');
    await buildImage({ ...small, name: 'docker', dockerfile: join(context, 'other.Dockerfile') });
    expect((await images.inspect('docker')).config.config.WorkingDir).toBe('/docker');
  });
});
