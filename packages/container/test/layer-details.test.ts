// What layers may hold beside plain files: attributes, names that are no text, zstd, FIFOs, links by the thousand.

import { lstat, readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, constants as zlib, zstdCompressSync } from 'node:zlib';
import { ImageStore } from '@heptad/container';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run, runOrThrow } from '../src/system/command.ts';
import { addRawImage } from './layer-images.ts';
import { pax, rawTar } from './raw-tar.ts';
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

async function rootOf(layers: Parameters<typeof addRawImage>[2]): Promise<string> {
  await addRawImage(images, 'it', layers);
  const { top } = await images.unpack('it');
  return join(images.snapshots.path, top.slice('sha256:'.length), 'fs');
}

/** An extended attribute in hexadecimal, read by lgetxattr(2). */
async function xattr(path: string, name: string): Promise<string> {
  const number = process.arch === 'arm64' ? 9 : 192;
  const script = `my $b = "\\0" x 256; my $n = syscall(${number}, $ARGV[0], $ARGV[1], $b, 256); print $n < 0 ? "none" : unpack("H*", substr($b, 0, $n))`;
  return await runOrThrow('perl', ['-e', script, path, name]);
}

// CAP_NET_RAW as version 2 of security.capability: bytes that are no text.
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex');

describe.skipIf(!isRoot)('layers', () => {
  it('extended attributes arrive byte by byte; those that steer overlayfs or the host do not', async () => {
    const root = await rootOf([
      {
        archive: rawTar(
          pax({
            'SCHILY.xattr.security.capability': CAPABILITY,
            'SCHILY.xattr.user.note': Buffer.from([0, 255, 10, 61]),
            'SCHILY.xattr.trusted.overlay.opaque': 'y',
            'SCHILY.xattr.security.selinux': 'x',
          }),
          { name: 'ping', content: 'x' },
          pax({ 'SCHILY.xattr.user.d': 'dir' }),
          { name: 'd', type: '5' },
          pax({ 'SCHILY.xattr.user.gone': 'x' }),
          { name: 'replaced', content: 'old' },
          { name: 'replaced', content: 'new' },
        ),
      },
    ]);
    expect(await xattr(join(root, 'ping'), 'security.capability')).toBe(CAPABILITY.toString('hex'));
    expect(await xattr(join(root, 'ping'), 'user.note')).toBe('00ff0a3d');
    expect(await xattr(join(root, 'ping'), 'trusted.overlay.opaque')).toBe('none');
    expect(await xattr(join(root, 'd'), 'user.d')).toBe(Buffer.from('dir').toString('hex'));
    expect(await xattr(join(root, 'replaced'), 'user.gone')).toBe('none');
    const { top } = await images.unpack('it');
    expect((await images.snapshots.stat(top)).skippedXattrs).toBe(2);
  });

  it('names that are no text stay as they are, and can be deleted by a later layer', async () => {
    const latin = Buffer.from([0x63, 0x61, 0x66, 0xe9]);
    const name = latin.toString('latin1');
    const raw = (text: string): Buffer => pax({ path: Buffer.from(text, 'latin1') });
    await addRawImage(images, 'it', [
      {
        archive: rawTar(raw(`d/${name}`), { name: 'd/x', content: 'x' }, raw(`d/${name}2`), {
          name: 'y',
          content: 'y',
        }),
      },
      { archive: rawTar(raw(`d/.wh.${name}`), { name: 'd/w' }) },
    ]);
    const { top } = await images.unpack('it');
    const mounts = await images.snapshots.view('look', top);
    expect(mounts[0]?.type).toBe('overlay');
    const [lower] = (await images.snapshots.layers(top)).slice(-1);
    const names = await readdir(join(images.snapshots.path, (lower?.name ?? '').slice(7), 'fs', 'd'), {
      encoding: 'buffer',
    });
    expect(names.map((each) => each.toString('hex')).sort()).toEqual(['636166e9', '636166e932']);
    const upper = join(images.snapshots.path, top.slice(7), 'fs', 'd');
    const [whiteout] = await readdir(upper, { encoding: 'buffer' });
    expect(whiteout?.toString('hex')).toBe('636166e9');
  });

  it('zstd layers, of several frames too, and gzip layers of several members', async () => {
    const archive = rawTar({ name: 'a', content: 'a'.repeat(10_000) }, { name: 'b', content: 'b' });
    const halves = [archive.subarray(0, 3_000), archive.subarray(3_000)];
    const root = await rootOf([
      {
        archive,
        // A skippable frame between them, as zstd:chunked has at its end.
        stored: Buffer.concat([
          zstdCompressSync(halves[0] ?? ''),
          Buffer.from('502a4d18040000006a756e6b', 'hex'),
          zstdCompressSync(halves[1] ?? '', { params: { [zlib.ZSTD_c_checksumFlag]: 1 } }),
        ]),
        mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd',
      },
    ]);
    expect((await readdir(root)).sort()).toEqual(['a', 'b']);
    expect((await readFile(join(root, 'a'), 'utf8')).length).toBe(10_000);
    const other = rawTar({ name: 'c', content: 'c'.repeat(5_000) });
    const gzipped = [other.subarray(0, 700), other.subarray(700)].map((half) => gzipSync(half));
    const second = await rootOf([{ archive: other, stored: Buffer.concat(gzipped) }]);
    expect((await stat(join(second, 'c'))).size).toBe(5_000);
  });

  it('FIFOs, set-user-id bits, long names of both kinds, times and an archive without an end', async () => {
    const long = `${'n'.repeat(150)}/${'m'.repeat(150)}`;
    const whole = rawTar(
      { name: 'pipe', type: '6', mode: '0000640' },
      { name: 'su', mode: '0004755', content: 'x', mtime: '00000000144' },
      pax({ path: long, mtime: '1500000000.5' }),
      { name: 'short', content: 'pax' },
      { name: '././@LongLink', type: 'L', content: `${long}-gnu\0` },
      { name: 'short', content: 'gnu' },
      { name: '././@LongLink', type: 'K', content: `${'t'.repeat(200)}\0` },
      { name: 'sym', type: '2', linkName: 't' },
    );
    const archive = whole.subarray(0, whole.length - 1024);
    const root = await rootOf([{ archive }]);
    expect((await lstat(join(root, 'pipe'))).isFIFO()).toBe(true);
    expect((await lstat(join(root, 'pipe'))).mode & 0o7777).toBe(0o640);
    expect((await lstat(join(root, 'su'))).mode & 0o7777).toBe(0o4755);
    expect((await lstat(join(root, 'su'))).mtimeMs).toBe(100_000);
    expect(await readFile(join(root, long), 'utf8')).toBe('pax');
    expect((await lstat(join(root, long))).mtimeMs).toBe(1_500_000_000_500);
    expect(await readFile(join(root, `${long}-gnu`), 'utf8')).toBe('gnu');
    expect(await readlink(join(root, 'sym'))).toBe('t'.repeat(200));
  });

  it('what GNU tar, bsdtar-like pax and busybox write is laid out alike', async () => {
    const source = join(home, 'source');
    await runOrThrow('sh', [
      '-c',
      `mkdir -p ${source}/d/e && echo hi > ${source}/d/f && ln ${source}/d/f ${source}/d/e/hard && ln -s ../f ${source}/d/e/soft && chmod 1777 ${source}/d && chown 12:34 ${source}/d/f`,
    ]);
    const seen: string[][] = [];
    for (const format of ['gnu', 'pax', 'ustar', 'v7', 'oldgnu']) {
      const file = join(home, `${format}.tar`);
      await runOrThrow('tar', [`--format=${format}`, '-C', source, '-cf', file, '.']);
      const root = await rootOf([{ archive: await readFile(file) }]);
      const { stdout } = await run('find', [root, '-printf', '%P %y %m %U:%G %n %s %l\n']);
      // The size of a directory is the file system's own affair.
      seen.push(
        stdout
          .split('\n')
          .map((line) => (/ d /.test(line) ? line.replace(/ \d+ $/, '') : line))
          .sort(),
      );
    }
    expect(seen[0]?.length).toBe(7);
    for (const each of seen) expect(each).toEqual(seen[0]);
  });
});
