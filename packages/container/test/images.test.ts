// Building, saving, loading and collecting images.

import { createReadStream } from 'node:fs';
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { buildNodeImage, ImageStore } from '@heptad/container';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../src/system/command.ts';
import { IMAGE, temporaryDirectory, testImages } from './support.ts';

let base: string;
let shared: ImageStore;
let home: string;
let images: ImageStore;

beforeAll(async () => {
  base = await temporaryDirectory();
  shared = await testImages(base);
});

afterAll(async () => {
  await rm(base, { recursive: true, force: true });
});

beforeEach(async () => {
  home = await temporaryDirectory();
  images = await ImageStore.open({ home: join(home, 'images') });
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

/** A small application; a tiny program stands for the Node binary where the image is not run. */
async function app(name = 'app'): Promise<string> {
  const directory = join(home, name);
  await mkdir(join(directory, 'lib'), { recursive: true });
  await writeFile(join(directory, 'main.mjs'), 'console.log(1)');
  await writeFile(join(directory, 'lib/b.mjs'), 'b');
  await writeFile(join(directory, 'lib/a.mjs'), 'a');
  await writeFile(join(directory, 'run.sh'), '#!/bin/sh');
  await chmod(join(directory, 'run.sh'), 0o755);
  return directory;
}

const small = { name: 'app', main: 'main.mjs', nodeBinary: '/bin/true', tools: [] } as const;

describe('buildNodeImage', () => {
  it('equal inputs give an equal digest, whatever times, modes of the umask, order and place', async () => {
    const one = await app('one');
    const first = await buildNodeImage({ images, ...small, directory: one });
    const two = await app('two');
    await utimes(join(two, 'main.mjs'), 1, 1);
    await chmod(join(two, 'main.mjs'), 0o600);
    const other = await ImageStore.open({ home: join(home, 'other') });
    const second = await buildNodeImage({ images: other, ...small, directory: two });
    expect(second.digest).toBe(first.digest);
    await writeFile(join(two, 'lib/a.mjs'), 'changed');
    const third = await buildNodeImage({ images: other, ...small, directory: two });
    expect(third.digest).not.toBe(first.digest);
    expect(third.layers[0]).toEqual(first.layers[0]);
  });

  it('the runtime layer of the real Node is made once and shared', async () => {
    const steps: string[] = [];
    const directory = await app();
    await buildNodeImage({
      images: shared,
      name: 'second',
      directory,
      main: 'main.mjs',
      onProgress: ({ step }) => steps.push(step),
    });
    expect(steps).not.toContain('runtime');
    expect((await shared.inspect('second')).manifest.layers[0]).toEqual(
      (await shared.inspect(IMAGE)).manifest.layers[0],
    );
  });

  it('says what the image runs', async () => {
    await buildNodeImage({
      images,
      ...small,
      directory: await app(),
      environment: { A: '1' },
      ports: [80],
      user: '5',
    });
    const { config } = (await images.inspect('app')).config;
    expect(config).toMatchObject({
      Entrypoint: ['/usr/local/bin/node'],
      Cmd: ['/app/main.mjs'],
      WorkingDir: '/app',
      User: '5',
      ExposedPorts: { '80/tcp': {} },
    });
    expect(config.Env).toContain('A=1');
  });

  it('leaves out .git and .env, and refuses links that lead out and a main that is not there', async () => {
    const directory = await app();
    await writeFile(join(directory, '.env'), 'SECRET=1');
    const before = await buildNodeImage({ images, ...small, directory });
    await rm(join(directory, '.env'));
    expect((await buildNodeImage({ images, ...small, directory })).digest).toBe(before.digest);
    await expect(buildNodeImage({ images, ...small, directory, main: 'missing.mjs' })).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
    });
    await expect(buildNodeImage({ images, ...small, directory, main: '../x' })).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
    });
    await expect(buildNodeImage({ images, ...small, directory, name: 'Bad Name' })).rejects.toMatchObject({
      code: 'INVALID_REFERENCE',
    });
    await symlink('/etc/passwd', join(directory, 'link'));
    await expect(buildNodeImage({ images, ...small, directory })).rejects.toMatchObject({
      code: 'BUILD_FAILED',
      message: expect.stringContaining('link'),
    });
  });
});

describe('archives', () => {
  it('what is saved can be loaded elsewhere, to the same digest', async () => {
    const built = await buildNodeImage({ images, ...small, directory: await app() });
    const file = join(home, 'image.tar');
    await images.save(['app'], file);
    const other = await ImageStore.open({ home: join(home, 'other') });
    const progress: number[] = [];
    const tags = await other.load(file, { onProgress: ({ bytes }) => progress.push(bytes) });
    expect(tags.map(({ name, target }) => [name, target.digest])).toEqual([['app:latest', built.digest]]);
    expect(progress.at(-1)).toBe((await stat(file)).size);
    const image = await other.inspect('app');
    for (const part of [image.manifest.config, ...image.manifest.layers])
      await other.content.verify(part.digest);
  });

  it('a stream, a compressed one too, loads as well', async () => {
    await buildNodeImage({ images, ...small, directory: await app() });
    const file = join(home, 'image.tar');
    await images.save(['app'], file);
    await run('gzip', ['-k', file]);
    const other = await ImageStore.open({ home: join(home, 'other') });
    expect((await other.load(createReadStream(`${file}.gz`))).length).toBe(1);
  });

  it('a damaged, cut or foreign file is refused, and no name is set', async () => {
    await buildNodeImage({ images, ...small, directory: await app() });
    const file = join(home, 'image.tar');
    await images.save(['app'], file);
    const other = await ImageStore.open({ home: join(home, 'other') });
    const whole = await readFile(file);
    const blob = whole.lastIndexOf('blobs/sha256/');
    const damaged = Buffer.from(whole);
    damaged.writeUInt8(damaged.readUInt8(blob + 600) ^ 1, blob + 600);
    await writeFile(file, damaged);
    await expect(other.load(file)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    await writeFile(file, whole);
    await truncate(file, whole.length - 3000);
    await expect(other.load(file)).rejects.toMatchObject({
      code: expect.stringMatching(/ARCHIVE_INVALID|DIGEST_MISMATCH/),
    });
    await writeFile(file, 'not an archive at all');
    await expect(other.load(file)).rejects.toMatchObject({ code: 'ARCHIVE_INVALID' });
    await expect(other.load(join(home, 'missing.tar'))).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' });
    expect(await other.list()).toEqual([]);
    expect(await readdir(join(other.home, 'content', 'ingest'))).toEqual([]);
  });

  it('an abort leaves nothing', async () => {
    await buildNodeImage({ images, ...small, directory: await app() });
    const file = join(home, 'image.tar');
    await images.save(['app'], file);
    const other = await ImageStore.open({ home: join(home, 'other') });
    await expect(other.load(file, { signal: AbortSignal.abort(new Error('stop')) })).rejects.toThrow('stop');
    expect(await other.list()).toEqual([]);
  });
});

describe('names and garbage', () => {
  it('names are set, listed, moved and removed; the content goes when nothing needs it', async () => {
    const { digest } = await buildNodeImage({ images, ...small, directory: await app() });
    await images.tag('app', 'registry.example:5000/team/app:v1');
    expect((await images.list()).map(({ name }) => name)).toEqual([
      'app:latest',
      'registry.example:5000/team/app:v1',
    ]);
    expect((await images.inspect(`app@${digest}`)).digest).toBe(digest);
    await images.remove('app');
    await expect(images.inspect('app')).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
    expect((await images.gc({ minimumAgeMs: 0 })).blobs).toBe(0);
    await images.remove('registry.example:5000/team/app:v1');
    // A container may still need it.
    expect((await images.gc({ minimumAgeMs: 0, inUse: [digest] })).blobs).toBe(0);
    // Somebody may be about to name it.
    expect((await images.gc()).blobs).toBe(0);
    const report = await images.gc({ minimumAgeMs: -1000 });
    // Manifest, config and two layers; the bill of materials with its manifest and config.
    expect(report.blobs).toBe(7);
    expect(report.freedBytes).toBeGreaterThan(0);
    await expect(images.inspect(digest)).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
  });

  it('content is refused unless it is what was expected, and a write can be taken up again', async () => {
    const { content } = images;
    const expected = 'sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824';
    await expect(content.ingest('a', [Buffer.from('hallo')], { digest: expected })).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    await expect(
      content.ingest('a', [Buffer.from('hello')], { digest: expected, size: 4 }),
    ).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    const first = await content.writer('b');
    await first.write(Buffer.from('he'));
    await expect(content.writer('b')).rejects.toMatchObject({ code: 'REF_IN_USE' });
    await first.close();
    const second = await content.writer('b');
    expect(second.offset).toBe(2);
    await second.write(Buffer.from('llo'));
    expect((await second.commit({ digest: expected, size: 5 })).digest).toBe(expected);
    await expect(content.info('../../etc/passwd')).rejects.toMatchObject({ code: 'INVALID_REFERENCE' });
  });
});
