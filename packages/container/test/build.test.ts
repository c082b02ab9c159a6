// Building Node.js applications: layers, reproducibility, the layer cache, what runs, and what the image says it is.

import { spawnSync } from 'node:child_process';
import { chmod, cp, mkdir, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type BuildProgress, buildNodeImage, ImageStore, ProcessRuntime, readSbom } from '@heptad/container';
import { systemClock } from '@heptad/core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { putJson } from '../src/image/documents.ts';
import { writeLayer } from '../src/image/layer-writer.ts';
import { hostArchitecture, MEDIA_TYPE } from '../src/image/manifest.ts';
import { run } from '../src/system/command.ts';
import { npmApp, pnpmApp, tree } from './build-fixtures.ts';
import { temporaryDirectory } from './support.ts';

let home: string;
let images: ImageStore;

beforeEach(async () => {
  home = await temporaryDirectory();
  await chmod(home, 0o755);
  images = await ImageStore.open({ home: join(home, 'images') });
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

const small = { name: 'app', nodeBinary: '/bin/true', tools: [] } as const;

/** Paths in a layer of an image. */
async function pathsOf(name: string, layer: number): Promise<string[]> {
  const { manifest } = await images.inspect(name);
  const digest = manifest.layers.at(layer)?.digest ?? '';
  const blob = join(images.home, 'content/blobs/sha256', digest.slice(7));
  const { stdout } = await run('tar', ['-tzf', blob]);
  return stdout.trim().split('\n');
}

/** The output of an image as a plain process of this machine. */
async function outputOf(name: string): Promise<string> {
  const runtime = await ProcessRuntime.open({ home: join(home, 'process'), images });
  try {
    const id = await runtime.create({ name: 'c', image: name });
    await runtime.start(id);
    await runtime.wait(id, 'not-running');
    let text = '';
    for await (const line of runtime.logs(id, {})) text += `${line.text}\n`;
    await runtime.remove(id, { force: true });
    return text;
  } finally {
    await runtime[Symbol.asyncDispose]();
  }
}

describe('an image of an npm application', () => {
  it('has dependencies and application in layers of their own, without what .dockerignore leaves out', async () => {
    const directory = join(home, 'app');
    await npmApp(directory);
    await tree(directory, { '.npmrc': '//registry.example/:_authToken=secret', '.env': 'SECRET=1' });
    const messages: string[] = [];
    const { layers } = await buildNodeImage({
      images,
      ...small,
      directory,
      onProgress: ({ message }) => messages.push(message),
    });
    expect(layers).toHaveLength(3);
    const dependencies = await pathsOf('app', 1);
    expect(dependencies).toContain('app/node_modules/express/node_modules/debug/index.js');
    expect(dependencies).toContain('app/node_modules/.bin/util');
    expect(dependencies.every((path) => path === 'app/' || path.startsWith('app/node_modules/'))).toBe(true);
    expect(await pathsOf('app', 2)).toEqual([
      'app/',
      'app/.dockerignore',
      'app/dist/',
      'app/dist/server.js',
      'app/package.json',
    ]);
    expect(messages.join('\n')).toMatch(/laid out by npm.*node_modules is packed although .dockerignore/);
  });

  it('says what it is and runs what package.json says, as an ordinary user', async () => {
    const directory = join(home, 'app');
    await npmApp(directory);
    await buildNodeImage({ images, ...small, directory, ports: [8080], labels: { team: 'shop' } });
    const { config, history } = (await images.inspect('app')).config;
    expect(config).toMatchObject({
      User: 'node',
      Entrypoint: ['/usr/local/bin/node'],
      Cmd: ['--enable-source-maps', '/app/dist/server.js', '--port', '8080'],
      WorkingDir: '/app',
      Labels: {
        'org.opencontainers.image.title': '@acme/shop',
        'org.opencontainers.image.version': '1.2.3',
        'org.opencontainers.image.licenses': 'Apache-2.0',
        'org.opencontainers.image.source': 'https://git.example/acme/shop.git',
        team: 'shop',
      },
    });
    expect(config.Env).toContain('NODE_ENV=staging');
    expect(history).toHaveLength(3);
    expect(await outputOf('app')).toMatch(/express with debug 2 util .*--port/s);
  });
});

describe('an image of a pnpm application', () => {
  it('keeps the links of the virtual store and of the workspace, and runs', async () => {
    const directory = join(home, 'app');
    await pnpmApp(directory);
    const { layers } = await buildNodeImage({ images, name: 'app', directory });
    expect(layers).toHaveLength(3);
    expect(await outputOf('app')).toBe('fastify over pino local\n');
  });

  it('refuses links into a workspace outside, and says how to get a self-contained directory', async () => {
    const directory = join(home, 'workspace/app');
    await pnpmApp(directory);
    await tree(join(home, 'workspace'), { 'other/package.json': { name: 'other', version: '1.0.0' } });
    await symlink('../../other', join(directory, 'node_modules/other'));
    await expect(buildNodeImage({ images, ...small, directory })).rejects.toMatchObject({
      code: 'BUILD_FAILED',
      message: expect.stringContaining('node_modules/other'),
      hint: expect.stringContaining('pnpm --filter'),
    });
    expect(await images.list()).toEqual([]);
  });
});

describe('reproducibility', () => {
  it('two directories, users, umasks, times and stores give the same image and bill of materials', async () => {
    const one = join(home, 'one');
    const two = join(home, 'elsewhere', 'two');
    await npmApp(one);
    await cp(one, two, { recursive: true, verbatimSymlinks: true });
    await utimes(join(two, 'dist/server.js'), 1_000_000, 2_000_000);
    await chmod(join(two, 'node_modules/express/index.js'), 0o600);
    // What managers leave behind says when and where they installed.
    for (const directory of [one, two]) {
      await tree(directory, {
        'node_modules/.modules.yaml': `storeDir: ${directory}/store\nprunedAt: now`,
        'node_modules/.pnpm-workspace-state-v1.json': { at: directory },
        'node_modules/.cache/tool/x': directory,
        'node_modules/.bin/shim': `#!/bin/sh\nNODE_PATH="${directory}/node_modules" exec node "$@"\n`,
      });
    }
    const starter = fileURLToPath(new URL('build-starter.ts', import.meta.url));
    const isRoot = process.getuid?.() === 0;
    const build = async (name: string, directory: string, umask: string, uid?: number): Promise<string> => {
      const store = join(home, name);
      await mkdir(store);
      if (uid !== undefined) await run('chown', ['-R', `${uid}:${uid}`, store, directory]);
      const { stdout, stderr } = spawnSync(
        process.execPath,
        ['--conditions=heptad-source', starter, join(store, 'images'), directory, umask],
        { encoding: 'utf8', ...(uid === undefined ? {} : { uid, gid: uid }), env: { HOME: store } },
      );
      expect(stderr).toBe('');
      return stdout;
    };
    const first = await build('a', one, '022');
    expect(first).toMatch(/^sha256:[0-9a-f]{64} sha256:[0-9a-f]{64}\n$/);
    expect(await build('b', two, '077', isRoot ? 12_345 : undefined)).toBe(first);
  });

  it("a manager's scripts lead to where they are in the image", async () => {
    const directory = join(home, 'app');
    await npmApp(directory);
    await tree(directory, { 'node_modules/.bin/shim': `#!/bin/sh\nexec node "${directory}/x.js"\n` });
    const { layers } = await buildNodeImage({ images, ...small, directory });
    const blob = join(images.home, 'content/blobs/sha256', layers[1]?.digest.slice(7) ?? '');
    const { stdout } = await run('tar', ['-xOzf', blob, 'app/node_modules/.bin/shim']);
    expect(stdout).toBe('#!/bin/sh\nexec node "/app/x.js"\n');
  });

  it('SOURCE_DATE_EPOCH is the time of the image and its application; what is no time is refused', async () => {
    const directory = join(home, 'app');
    await npmApp(directory);
    const before = await buildNodeImage({ images, ...small, directory });
    const dated = await buildNodeImage({ images, ...small, directory, sourceDateEpoch: 1_700_000_000 });
    expect(dated.digest).not.toBe(before.digest);
    // Runtime and dependencies are the same ones.
    expect(dated.layers.slice(0, 2)).toEqual(before.layers.slice(0, 2));
    const { config } = await images.inspect('app');
    expect(config.created).toBe('2023-11-14T22:13:20.000Z');
    expect((await readSbom(images, 'app')).metadata.timestamp).toBe('2023-11-14T22:13:20.000Z');
    const blob = join(images.home, 'content/blobs/sha256', dated.layers.at(-1)?.digest.slice(7) ?? '');
    const { stdout } = await run('tar', ['-tvzf', blob, '--utc', 'app/dist/server.js']);
    expect(stdout).toContain('2023-11-14 22:13');
    await expect(buildNodeImage({ images, ...small, directory, sourceDateEpoch: 1.5 })).rejects.toMatchObject(
      { code: 'INVALID_ARGUMENT' },
    );
  });
});

describe('the layer cache', () => {
  it('does not pack unchanged dependencies again, and does pack changed ones', async () => {
    const directory = join(home, 'app');
    await npmApp(directory);
    // Files that changed this very moment are not trusted to be settled.
    await delay(700);
    const build = async (): Promise<BuildProgress[]> => {
      const progress: BuildProgress[] = [];
      await buildNodeImage({ images, ...small, directory, onProgress: (each) => progress.push(each) });
      return progress.filter(({ step }) => step === 'dependencies');
    };
    expect((await build()).some(({ cached }) => cached)).toBe(false);
    const first = (await images.inspect('app')).manifest.layers;
    await writeFile(join(directory, 'dist/server.js'), 'console.log(2)');
    expect(await build()).toMatchObject([{ cached: true }]);
    const second = (await images.inspect('app')).manifest.layers;
    expect(second[1]).toEqual(first[1]);
    expect(second[2]).not.toEqual(first[2]);
    await writeFile(join(directory, 'node_modules/express/index.js'), 'module.exports = "changed"');
    expect((await build()).some(({ cached }) => cached)).toBe(false);
    expect((await images.inspect('app')).manifest.layers[1]).not.toEqual(first[1]);
  });

  it('makes a layer anew whose content is gone, or whose entry is damaged', async () => {
    const directory = join(home, 'app');
    await npmApp(directory);
    await delay(700);
    const first = await buildNodeImage({ images, ...small, directory });
    await images.content.delete(first.layers[1]?.digest ?? '');
    expect((await buildNodeImage({ images, ...small, directory })).digest).toBe(first.digest);
    const cache = join(images.home, 'build-cache');
    for (const name of await readdir(cache)) await writeFile(join(cache, name), '{"half');
    expect((await buildNodeImage({ images, ...small, directory })).digest).toBe(first.digest);
  });
});

describe('what runs', () => {
  const cases: readonly [
    what: string,
    files: Record<string, string | object>,
    entry: string[],
    cmd: string[],
  ][] = [
    [
      'main of package.json without suffix',
      { 'package.json': { main: './lib/a' }, 'lib/a.cjs': '' },
      ['/usr/local/bin/node'],
      ['/app/lib/a.cjs'],
    ],
    [
      'the only bin',
      { 'package.json': { bin: { x: 'x.js' }, main: 'y.js' }, 'x.js': '', 'y.js': '' },
      ['/usr/local/bin/node'],
      ['/app/x.js'],
    ],
    ['the usual name', { 'index.mjs': '' }, ['/usr/local/bin/node'], ['/app/index.mjs']],
    [
      'options of Node with values',
      {
        'package.json': { scripts: { start: 'node -r ./a.js --import "./b.mjs" .' } },
        'a.js': '',
        'index.js': '',
      },
      ['/usr/local/bin/node'],
      ['-r', './a.js', '--import', './b.mjs', '/app/index.js'],
    ],
    [
      'a program of a package',
      {
        'package.json': { scripts: { start: 'next start -p 80' }, dependencies: { next: '1' } },
        'node_modules/next/package.json': { name: 'next', version: '1.0.0', bin: { next: './dist/next' } },
        'node_modules/next/dist/next': '',
      },
      ['/usr/local/bin/node'],
      ['/app/node_modules/next/dist/next', 'start', '-p', '80'],
    ],
    [
      'a shell script',
      { 'package.json': { scripts: { start: 'echo a && node b.js' } } },
      ['/bin/sh', '-c'],
      ['echo a && node b.js'],
    ],
    [
      'a program that is not ours',
      { 'package.json': { scripts: { start: 'deno run "$X"' } } },
      ['/bin/sh', '-c'],
      ['exec deno run "$X"'],
    ],
  ];
  for (const [what, files, entry, cmd] of cases) {
    it(`${what}`, async () => {
      const directory = join(home, 'app');
      await tree(directory, files);
      await buildNodeImage({ images, ...small, directory, sbom: false });
      const { config } = (await images.inspect('app')).config;
      expect([config.Entrypoint, config.Cmd]).toEqual([entry, cmd]);
    });
  }

  it('is refused when it is missing, or when nothing says what it is', async () => {
    const directory = join(home, 'app');
    const build = (): Promise<unknown> => buildNodeImage({ images, ...small, directory, sbom: false });
    await expect(build()).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' });
    await tree(directory, { 'readme.txt': '' });
    await expect(build()).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
      hint: expect.stringContaining('index.js'),
    });
    await tree(directory, { 'package.json': { scripts: { start: 'node dist/x.js' } } });
    await expect(build()).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
      message: expect.stringContaining('dist/x.js (the start script'),
    });
    await tree(directory, { 'package.json': '{ "name": ' });
    await expect(build()).rejects.toMatchObject({
      code: 'BUILD_FAILED',
      message: expect.stringContaining('not JSON'),
    });
    await tree(directory, { 'package.json': {}, '.pnp.cjs': '', 'index.js': '' });
    await expect(build()).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
      hint: expect.stringContaining('nodeLinker'),
    });
  });
});

describe('a base image', () => {
  async function makeBase(user: string): Promise<void> {
    const directory = join(home, 'base');
    await tree(directory, { 'index.js': '' });
    await buildNodeImage({
      images,
      name: 'base',
      directory,
      environment: { FROM_BASE: '1' },
      user,
      ports: [9],
      labels: { of: 'base' },
      sbom: false,
    });
  }

  async function imageWithoutNode(name: string): Promise<void> {
    const layer = await writeLayer(images.content, 'bare', [
      { type: 'file', path: 'usr/bin/nodejs-not', mode: 0o755, content: '' },
      { type: 'file', path: 'etc/os-release', mode: 0o644, content: 'ID=debian\nVERSION_ID="12"\n' },
    ]);
    const rootfs = { type: 'layers', diff_ids: [layer.diffId] };
    const config = { architecture: hostArchitecture(), os: 'linux', rootfs };
    const manifest = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.manifest,
      config: await putJson(images, config, MEDIA_TYPE.config),
      layers: [layer.descriptor],
    };
    await images.setTag(name, await putJson(images, manifest, MEDIA_TYPE.manifest));
  }

  it('lies below, its config is inherited, its Node runs', async () => {
    await makeBase('root');
    const directory = join(home, 'app');
    await npmApp(directory);
    const { layers } = await buildNodeImage({
      images,
      name: 'app',
      directory,
      base: 'base',
      environment: { MINE: '1' },
    });
    const base = await images.inspect('base');
    expect(layers.slice(0, 2)).toEqual(base.manifest.layers);
    const { config, history } = (await images.inspect('app')).config;
    expect(config).toMatchObject({
      User: '1000:1000',
      Entrypoint: ['/usr/local/bin/node'],
      ExposedPorts: { '9/tcp': {} },
      Labels: {
        of: 'base',
        'org.opencontainers.image.base.name': 'base',
        'org.opencontainers.image.base.digest': base.digest,
      },
    });
    expect(config.Env).toEqual(expect.arrayContaining(['FROM_BASE=1', 'MINE=1', 'NODE_ENV=staging']));
    expect(history).toHaveLength(4);
    const sbom = await readSbom(images, 'app');
    expect(sbom.components.find(({ type }) => type === 'container')).toMatchObject({
      name: 'base',
      version: base.digest,
    });
  });

  it('keeps its user unless that is root, and must have Node', async () => {
    await makeBase('7:7');
    const directory = join(home, 'app');
    await npmApp(directory);
    await buildNodeImage({ images, name: 'app', directory, base: 'base', sbom: false });
    expect((await images.inspect('app')).config.config.User).toBe('7:7');
    await imageWithoutNode('bare');
    await expect(buildNodeImage({ images, name: 'app', directory, base: 'bare' })).rejects.toMatchObject({
      code: 'BUILD_FAILED',
      message: expect.stringContaining('no "node"'),
    });
    await expect(buildNodeImage({ images, name: 'app', directory, base: 'missing' })).rejects.toMatchObject({
      code: 'IMAGE_NOT_FOUND',
    });
  });
});

describe('an abort', () => {
  const moments: readonly [when: string, isNow: (progress: BuildProgress) => boolean][] = [
    ['before the runtime is packed', ({ step }) => step === 'runtime'],
    ['while it is packed', ({ bytes }) => bytes !== undefined && bytes > 0],
  ];
  for (const [when, isNow] of moments) {
    it(`${when} leaves no name and no half-written content`, async () => {
      const directory = join(home, 'app');
      await npmApp(directory);
      const controller = new AbortController();
      const building = buildNodeImage({
        images,
        name: 'app',
        directory,
        signal: controller.signal,
        onProgress: (progress) => {
          if (isNow(progress)) controller.abort(new Error('stop'));
        },
      });
      await expect(building).rejects.toThrow(/stop|abort/i);
      expect(await images.list()).toEqual([]);
      expect(await readdir(join(images.home, 'content/ingest'))).toEqual([]);
    });
  }
});

describe('a collection while an image is built', () => {
  it('takes nothing of it: new layers, known ones, the base, documents', async () => {
    const directory = join(home, 'app');
    await npmApp(directory);
    let ahead = 0;
    const clock = { ...systemClock, now: () => systemClock.now() + ahead };
    const store = await ImageStore.open({ home: join(home, 'collected'), clock });
    // As unlucky as can be: after every write, and just before the name is set.
    const collect = async (): Promise<void> => {
      ahead += 10_000;
      await store.gc({ minimumAgeMs: 0 });
    };
    const ingest = store.content.ingest.bind(store.content);
    vi.spyOn(store.content, 'ingest').mockImplementation(async (...args) => {
      const info = await ingest(...args);
      await collect();
      return info;
    });
    const setTag = store.setTag.bind(store);
    vi.spyOn(store, 'setTag').mockImplementation(async (...args) => {
      await collect();
      return await setTag(...args);
    });
    const whole = async (name: string): Promise<string[]> => {
      const { manifest } = await store.inspect(name);
      const { components } = await readSbom(store, name);
      expect(components.length).toBeGreaterThan(0);
      const parts = [manifest.config, ...manifest.layers].map(({ digest }) => digest);
      const there = await Promise.all(parts.map((digest) => store.content.info(digest)));
      return there.flatMap((info, index) => (info === undefined ? [parts[index] ?? ''] : []));
    };
    const build = { ...small, images: store, directory };
    await buildNodeImage({ ...build, name: 'first' });
    expect(await whole('first')).toEqual([]);
    // Known layers that nothing but the cache knows of.
    await store.remove('first');
    await buildNodeImage({ ...build, name: 'second' });
    expect(await whole('second')).toEqual([]);
    // Whose base loses its name meanwhile.
    const onProgress = ({ step }: BuildProgress): void => {
      if (step === 'app') removal ??= store.remove('second');
    };
    let removal: Promise<void> | undefined;
    await buildNodeImage({ ...build, name: 'third', base: 'second', onProgress });
    await removal;
    expect(removal).toBeDefined();
    expect(await whole('third')).toEqual([]);
    expect(await store.leases.list()).toEqual([]);
    await collect();
    expect(await whole('third')).toEqual([]);
  });
});
