// Layers from anywhere: whiteouts, opaque directories, links and owners as other engines see them; hostile ones refused.

import { createHash } from 'node:crypto';
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ImageStore } from '@heptad/container';
import tar, { type Header } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chainIds, digestOf } from '../src/image/digest.ts';
import { type Descriptor, MEDIA_TYPE } from '../src/image/manifest.ts';
import { run } from '../src/system/command.ts';
import { temporaryDirectory } from './support.ts';

const isRoot = process.getuid?.() === 0;
let home: string;
let images: ImageStore;

beforeEach(async () => {
  home = await temporaryDirectory();
  images = await ImageStore.open({ home: join(home, 'images') });
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

type Entry = [Partial<Header> & { name: string }, string?];

async function archive(entries: readonly Entry[]): Promise<Buffer> {
  const pack = tar.pack();
  for (const [header, content] of entries) pack.entry({ mtime: new Date(1e12), ...header }, content ?? '');
  pack.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of pack as AsyncIterable<Uint8Array>) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function addImage(name: string, layers: readonly (readonly Entry[])[]): Promise<void> {
  await addRawImage(name, await Promise.all(layers.map(archive)));
}

async function addRawImage(
  name: string,
  archives: readonly Buffer[],
  diffIds = archives.map(digestOf),
): Promise<void> {
  const put = async (bytes: Uint8Array, mediaType: string): Promise<Descriptor> => {
    const { digest, size } = await images.content.ingest(`test-${digestOf(bytes)}`, [bytes]);
    return { mediaType, digest, size };
  };
  const layers = await Promise.all(archives.map((bytes) => put(gzipSync(bytes), MEDIA_TYPE.layerGzip)));
  const config = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: diffIds },
  };
  const manifest = {
    schemaVersion: 2,
    config: await put(Buffer.from(JSON.stringify(config)), MEDIA_TYPE.config),
    layers,
  };
  await images.setTag(name, await put(Buffer.from(JSON.stringify(manifest)), MEDIA_TYPE.manifest));
}

/** Mounts an image and hands its root to `look`. */
async function inside(name: string, look: (root: string) => Promise<void>): Promise<void> {
  const { top } = await images.unpack(name);
  const [root, upper, work] = ['root', 'upper', 'work'].map((part) => join(home, part)) as [
    string,
    string,
    string,
  ];
  for (const path of [root, upper, work]) await mkdir(path, { recursive: true });
  await images.snapshots.mount(top, upper, work, root);
  try {
    await look(root);
  } finally {
    await run('umount', [root]);
  }
}

describe.skipIf(!isRoot)('layers', () => {
  it('a later layer deletes and replaces what an earlier one brought', async () => {
    await addImage('a', [
      [
        [{ name: 'keep' }, 'kept'],
        [{ name: 'gone' }, 'x'],
        [{ name: 'dir/gone' }, 'x'],
        [{ name: 'dir/keep' }, 'kept'],
        [{ name: 'changed' }, 'old'],
        [{ name: 'becomes-dir' }, 'x'],
        [{ name: 'becomes-file/x' }, 'x'],
      ],
      [
        [{ name: '.wh.gone' }],
        [{ name: 'dir/.wh.gone' }],
        [{ name: 'changed' }, 'new'],
        [{ name: 'becomes-dir', type: 'directory' }],
        [{ name: 'becomes-dir/y' }, 'y'],
        [{ name: '.wh.becomes-file' }],
        [{ name: 'becomes-file' }, 'file'],
      ],
    ]);
    await inside('a', async (root) => {
      expect((await readdir(root)).sort()).toEqual(['becomes-dir', 'becomes-file', 'changed', 'dir', 'keep']);
      expect(await readdir(join(root, 'dir'))).toEqual(['keep']);
      expect(await readFile(join(root, 'changed'), 'utf8')).toBe('new');
      expect(await readdir(join(root, 'becomes-dir'))).toEqual(['y']);
      expect(await readFile(join(root, 'becomes-file'), 'utf8')).toBe('file');
    });
  });

  it('an opaque directory hides all that is below it, at any depth, but not what came with it', async () => {
    await addImage('a', [
      [
        [{ name: 'd/old' }, 'x'],
        [{ name: 'd/sub/old' }, 'x'],
        [{ name: 'd/sub/deep/old' }, 'x'],
        [{ name: 'other/old' }, 'kept'],
      ],
      [[{ name: 'd/middle' }, 'x'], [{ name: 'd/sub/.wh.old' }]],
      [
        [{ name: 'd', type: 'directory' }],
        [{ name: 'd/.wh..wh..opq' }],
        [{ name: 'd/new' }, 'new'],
        [{ name: 'd/sub/new' }, 'new'],
      ],
    ]);
    await inside('a', async (root) => {
      expect((await readdir(join(root, 'd'))).sort()).toEqual(['new', 'sub']);
      expect(await readdir(join(root, 'd/sub'))).toEqual(['new']);
      expect(await readdir(join(root, 'other'))).toEqual(['old']);
    });
  });

  it('owners, modes with set-user-id, times, symbolic and hard links arrive', async () => {
    await addImage('a', [
      [
        [{ name: 'bin', type: 'directory', mode: 0o755, uid: 5, gid: 6 }],
        [{ name: 'bin/tool', mode: 0o4755, uid: 7, gid: 8 }, 'tool'],
        [{ name: 'bin/hard', type: 'link', linkname: 'bin/tool' }],
        [{ name: 'bin/soft', type: 'symlink', linkname: '/etc/shadow' }],
        [{ name: 'tmp', type: 'directory', mode: 0o1777 }],
        [{ name: 'x'.repeat(200), mode: 0o600 }, 'long name'],
        [{ name: 'pipe', type: 'fifo' }],
      ],
    ]);
    await inside('a', async (root) => {
      const tool = await stat(join(root, 'bin/tool'));
      expect([tool.mode & 0o7777, tool.uid, tool.gid, tool.mtimeMs, tool.nlink]).toEqual([
        0o4755, 7, 8, 1e12, 2,
      ]);
      const directory = await stat(join(root, 'bin'));
      expect([directory.mode & 0o7777, directory.uid, directory.gid, directory.mtimeMs]).toEqual([
        0o755, 5, 6, 1e12,
      ]);
      expect(await readlink(join(root, 'bin/soft'))).toBe('/etc/shadow');
      expect((await stat(join(root, 'tmp'))).mode & 0o7777).toBe(0o1777);
      expect(await readFile(join(root, 'x'.repeat(200)), 'utf8')).toBe('long name');
      expect((await lstat(join(root, 'pipe'))).isFIFO()).toBe(true);
    });
  });

  it('a parent that the layer does not describe keeps the owner and mode it has below', async () => {
    await addImage('a', [
      [[{ name: 'private', type: 'directory', mode: 0o700, uid: 1000, gid: 1000 }]],
      [[{ name: 'private/file' }, 'x']],
    ]);
    await inside('a', async (root) => {
      const info = await stat(join(root, 'private'));
      expect([info.mode & 0o777, info.uid]).toEqual([0o700, 1000]);
    });
  });

  it('a symbolic link in a path is followed inside the layer, never outside', async () => {
    await addImage('a', [
      [
        [{ name: 'usr/lib', type: 'directory' }],
        [{ name: 'lib', type: 'symlink', linkname: 'usr/lib' }],
        [{ name: 'lib/libx' }, 'x'],
        [{ name: 'absolute', type: 'symlink', linkname: '/usr' }],
        [{ name: 'absolute/y' }, 'y'],
        [{ name: 'up', type: 'symlink', linkname: '../../../../../../..' }],
      ],
    ]);
    await inside('a', async (root) => {
      expect(await readFile(join(root, 'usr/lib/libx'), 'utf8')).toBe('x');
      expect(await readFile(join(root, 'usr/y'), 'utf8')).toBe('y');
      expect(await readlink(join(root, 'up'))).toBe('../../../../../../..');
    });
  });

  it('127 layers can be mounted', async () => {
    await addImage(
      'a',
      Array.from({ length: 127 }, (_, index): Entry[] => [[{ name: `f${index}` }, String(index)]]),
    );
    await inside('a', async (root) => {
      expect((await readdir(root)).length).toBe(127);
      expect(await readFile(join(root, 'f0'), 'utf8')).toBe('0');
    });
  });

  it('two unpacks at once share the work', async () => {
    await addImage('a', [[[{ name: 'x' }, 'x']]]);
    const [one, other] = await Promise.all([images.unpack('a'), images.unpack('a')]);
    expect(one.top).toBe(other.top);
    expect(await images.snapshots.list()).toEqual([one.top]);
  });
});

describe.skipIf(!isRoot)('broken layers', () => {
  it('a layer whose content is not what the image says', async () => {
    await addRawImage(
      'swapped',
      [await archive([[{ name: 'f' }, 'x']])],
      [`sha256:${createHash('sha256').update('other').digest('hex')}`],
    );
    await expect(images.unpack('swapped')).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    expect(await images.snapshots.list()).toEqual([]);
  });

  it('a layer cut short, and one that is no archive', async () => {
    const whole = await archive([[{ name: 'f' }, 'x'.repeat(5000)]]);
    for (const bytes of [whole.subarray(0, 3000), Buffer.from('this is no archive'.repeat(100))]) {
      await addRawImage('broken', [bytes]);
      await expect(images.unpack('broken')).rejects.toMatchObject({ code: 'ARCHIVE_INVALID' });
    }
  });

  it('a passwd file that is a link to the host is not read', async () => {
    const { resolveUser } = await import('../src/oci/user.ts');
    const root = join(home, 'rootfs');
    await mkdir(join(root, 'etc'), { recursive: true });
    const { symlink } = await import('node:fs/promises');
    await symlink('/etc/passwd', join(root, 'etc/passwd'));
    await expect(resolveUser(root, 'daemon')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await rm(join(root, 'etc/passwd'));
    await writeFile(join(root, 'etc/passwd'), 'daemon:x:77:78::/d:/bin/sh\n');
    expect(await resolveUser(root, 'daemon')).toMatchObject({ uid: 77, gid: 78, home: '/d' });
  });
});

describe('names of stacks', () => {
  it('are those of the specification', () => {
    const one = digestOf('one');
    const two = digestOf('two');
    expect(chainIds([one, two])).toEqual([one, digestOf(`${one} ${two}`)]);
  });
});
