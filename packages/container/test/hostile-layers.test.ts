// Layers made to do harm: each refused with code, reason and the entry's name, and nothing of it left behind.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { ImageStore } from '@heptad/container';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addRawImage } from './layer-images.ts';
import { pax, type RawEntry, rawEntry, rawTar } from './raw-tar.ts';
import { temporaryDirectory } from './support.ts';

const isRoot = process.getuid?.() === 0;
let home: string;
let images: ImageStore;
/** A directory outside of the store that hostile layers aim at. */
let victim: string;

beforeEach(async () => {
  home = await temporaryDirectory();
  victim = join(home, 'victim');
  await mkdir(victim);
  await writeFile(join(victim, 'secret'), 'of the host');
  images = await ImageStore.open({
    home: join(home, 'images'),
    layerLimits: { maxBytes: 1_000_000, maxEntries: 50, maxRatio: 100, ratioFloorBytes: 100_000 },
  });
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

async function nothingLeft(): Promise<void> {
  expect(await readdir(victim)).toEqual(['secret']);
  expect((await stat(join(victim, 'secret'))).nlink).toBe(1);
  expect((await readdir(images.snapshots.path)).filter((name) => name !== 'l')).toEqual([]);
  expect(await readdir(join(images.snapshots.path, 'l'))).toEqual([]);
  expect((await readdir(home)).sort()).toEqual(['images', 'victim']);
}

type Refusal = [code: string, reason: string, entry?: string];
const UNSAFE = 'UNSAFE_ARCHIVE';
const LARGE = 'ARCHIVE_TOO_LARGE';
const INVALID = 'ARCHIVE_INVALID';
const file: RawEntry = { name: 'f', content: 'x' };
const binary = (...bytes: number[]): Buffer => Buffer.from([...Array(12 - bytes.length).fill(0), ...bytes]);
const huge = Buffer.from([0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
const wide = (first: number, ...rest: number[]): Buffer => {
  const bytes = binary(...rest);
  bytes[0] = first;
  return bytes;
};

const table: Record<string, [Refusal, () => Buffer]> = {
  // Names
  'a name that climbs out': [
    [UNSAFE, 'PATH_ESCAPE', '../../../../tmp/x'],
    () => rawTar({ name: '../../../../tmp/x' }),
  ],
  'a name that climbs out behind a directory': [
    [UNSAFE, 'PATH_ESCAPE', 'a/../../../x'],
    () => rawTar({ name: 'a/../../../x' }),
  ],
  'a name of nothing but ".."': [[UNSAFE, 'PATH_ESCAPE', '..'], () => rawTar({ name: '..', type: '5' })],
  'an absolute name that climbs': [[UNSAFE, 'PATH_ESCAPE'], () => rawTar({ name: '/../x' })],
  'a pax name that climbs out behind a harmless one': [
    [UNSAFE, 'PATH_ESCAPE', '../../evil'],
    () => rawTar(pax({ path: '../../evil' }), file),
  ],
  'a GNU long name that climbs out': [
    [UNSAFE, 'PATH_ESCAPE', '../evil'],
    () => rawTar({ name: '././@LongLink', type: 'L', content: '../evil\0' }, file),
  ],
  'a prefix that climbs out': [
    [UNSAFE, 'PATH_ESCAPE', '../../f'],
    () => rawTar({ ...file, prefix: '../..' }),
  ],
  'a zero byte in a pax name': [[INVALID, 'BAD_HEADER'], () => rawTar(pax({ path: 'a\0b' }), file)],
  'a component over 255 bytes': [[UNSAFE, 'BAD_NAME'], () => rawTar(pax({ path: 'n'.repeat(256) }), file)],
  'a path over 4096 bytes': [[UNSAFE, 'BAD_NAME'], () => rawTar(pax({ path: 'd/'.repeat(2_100) }), file)],
  'a path that is too long only on this machine': [
    [INVALID, 'IMPOSSIBLE'],
    () => rawTar(pax({ path: `${'d'.repeat(200)}/`.repeat(20) }), file),
  ],
  // Links
  'a name through a symbolic link that climbs out': [
    [UNSAFE, 'LINK_ESCAPE', 'x/y'],
    () => rawTar({ name: 'x', type: '2', linkName: '../../../../etc' }, { name: 'x/y' }),
  ],
  'a name through two symbolic links that climb out together': [
    [UNSAFE, 'LINK_ESCAPE', 'a/b/x/y'],
    () =>
      rawTar(
        { name: 'a/up', type: '2', linkName: '..' },
        { name: 'a/b/x', type: '2', linkName: '../up/../..' },
        { name: 'a/b/x/y' },
      ),
  ],
  'a hard link through a symbolic link that climbs out': [
    [UNSAFE, 'LINK_ESCAPE', 'h'],
    () =>
      rawTar(
        { name: 'x', type: '2', linkName: '../../../../etc' },
        { name: 'h', type: '1', linkName: 'x/passwd' },
      ),
  ],
  'a symbolic link to nothing': [[INVALID, 'IMPOSSIBLE', 'x'], () => rawTar({ name: 'x', type: '2' })],
  'a hard link to a file of the host': [
    [UNSAFE, 'LINK_ESCAPE', 'x'],
    () => rawTar({ name: 'x', type: '1', linkName: '/etc/passwd' }),
  ],
  'a hard link that climbs out': [
    [UNSAFE, 'PATH_ESCAPE', '../../../../../etc/passwd'],
    () => rawTar({ name: 'x', type: '1', linkName: '../../../../../etc/passwd' }),
  ],
  'a hard link through a symbolic link to the host': [
    [UNSAFE, 'LINK_ESCAPE', 'x'],
    () => rawTar({ name: 'd', type: '2', linkName: victim }, { name: 'x', type: '1', linkName: 'd/secret' }),
  ],
  'a pax hard link through a symbolic link': [
    [UNSAFE, 'LINK_ESCAPE', 'x'],
    () =>
      rawTar({ name: 'd', type: '2', linkName: victim }, pax({ linkpath: 'd/secret' }), {
        name: 'x',
        type: '1',
        linkName: 'harmless',
      }),
  ],
  'a hard link to a directory': [
    [UNSAFE, 'LINK_ESCAPE', 'x'],
    () => rawTar({ name: 'd', type: '5' }, { name: 'x', type: '1', linkName: 'd' }),
  ],
  'a hard link to itself': [
    [UNSAFE, 'LINK_ESCAPE', 'x'],
    () => rawTar({ name: 'x', content: 'a' }, { name: 'x', type: '1', linkName: 'x' }),
  ],
  'a hard link to the root': [
    [UNSAFE, 'LINK_ESCAPE', 'x'],
    () => rawTar({ name: 'x', type: '1', linkName: './' }),
  ],
  'a loop of symbolic links': [
    [UNSAFE, 'SYMLINK_LOOP', 'a/x'],
    () =>
      rawTar(
        { name: 'a', type: '2', linkName: 'b' },
        { name: 'b', type: '2', linkName: 'a' },
        { name: 'a/x', content: 'x' },
      ),
  ],
  'a symbolic link to itself as a parent': [
    [UNSAFE, 'SYMLINK_LOOP', 'a/x'],
    () => rawTar({ name: 'a', type: '2', linkName: 'a' }, { name: 'a/x' }),
  ],
  // Things
  'the disk as a block device': [
    [UNSAFE, 'DEVICE_NODE', 'sda'],
    () => rawTar({ name: 'sda', type: '4', device: ['0000010', '0000000'] }),
  ],
  'the memory as a character device': [
    [UNSAFE, 'DEVICE_NODE', 'mem'],
    () => rawTar({ name: 'mem', type: '3', device: ['0000001', '0000001'] }),
  ],
  'a forged whiteout device': [
    [UNSAFE, 'DEVICE_NODE', 'x'],
    () => rawTar({ name: 'x', type: '3', device: ['0000000', '0000000'] }),
  ],
  'a flood of FIFOs': [
    [LARGE, 'TOO_MANY_ENTRIES'],
    () =>
      rawTar(...Array.from({ length: 60 }, (_, index) => ({ name: `p${index}`, type: '2', linkName: 'x' }))),
  ],
  'an old GNU sparse file': [[INVALID, 'SPARSE', 'f'], () => rawTar({ ...file, type: 'S' })],
  'a pax sparse file of an exabyte': [
    [INVALID, 'SPARSE', 'f'],
    () => rawTar(pax({ 'GNU.sparse.major': '1', 'GNU.sparse.realsize': '1152921504606846976' }), file),
  ],
  'a volume label': [[INVALID, 'UNKNOWN_TYPE', 'f'], () => rawTar({ ...file, type: 'V' })],
  'a file continued from another volume': [
    [INVALID, 'UNKNOWN_TYPE', 'f'],
    () => rawTar({ ...file, type: 'M' }),
  ],
  'a kind that nobody knows': [[INVALID, 'UNKNOWN_TYPE', 'f'], () => rawTar({ ...file, type: '\u007f' })],
  'a file below a file': [
    [INVALID, 'PARENT_NOT_DIRECTORY', 'f/x'],
    () => rawTar(file, { name: 'f/x', content: 'x' }),
  ],
  'a file below a FIFO': [
    [INVALID, 'PARENT_NOT_DIRECTORY', 'p/x'],
    () => rawTar({ name: 'p', type: '6' }, { name: 'p/x' }),
  ],
  'an owner that means "leave it"': [
    [UNSAFE, 'BAD_OWNER', 'f'],
    () => rawTar(pax({ uid: '4294967295' }), file),
  ],
  'an owner beyond all': [[UNSAFE, 'BAD_OWNER', 'f'], () => rawTar(pax({ gid: '9007199254740991' }), file)],
  'a negative owner': [
    [UNSAFE, 'BAD_OWNER', 'f'],
    () => rawTar({ ...file, uid: Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) }),
  ],
  // Whiteouts
  'a whiteout of the parent': [[UNSAFE, 'BAD_WHITEOUT', 'd/.wh...'], () => rawTar({ name: 'd/.wh...' })],
  'a whiteout of the directory itself': [[UNSAFE, 'BAD_WHITEOUT'], () => rawTar({ name: 'd/.wh..' })],
  'a whiteout of nothing': [[UNSAFE, 'BAD_WHITEOUT', '.wh.'], () => rawTar({ name: '.wh.' })],
  'a whiteout that climbs out': [[UNSAFE, 'PATH_ESCAPE'], () => rawTar({ name: '../.wh.x' })],
  // Sizes and counts
  'more bytes than allowed': [
    [LARGE, 'TOO_MANY_BYTES', 'big'],
    () => rawTar({ name: 'big', content: randomBytes(1_000_001) }),
  ],
  'more bytes than allowed in many files': [
    [LARGE, 'TOO_MANY_BYTES', 'f4'],
    () =>
      rawTar(
        ...Array.from({ length: 8 }, (_, index) => ({
          name: `f${index}`,
          content: randomBytes(249_000),
        })),
      ),
  ],
  'a size of eight exabytes': [[INVALID, 'BAD_HEADER'], () => rawTar({ ...file, size: huge })],
  'a pax size of nine petabytes': [
    [LARGE, 'TOO_MANY_BYTES', 'f'],
    () => rawTar(pax({ size: '9007199254740991' }), file),
  ],
  'a pax size beyond numbers': [
    [INVALID, 'BAD_HEADER'],
    () => rawTar(pax({ size: '99999999999999999999' }), file),
  ],
  'a negative pax size': [[INVALID, 'BAD_HEADER'], () => rawTar(pax({ size: '-1' }), file)],
  'a negative size': [[INVALID, 'BAD_HEADER', 'f'], () => rawTar({ ...file, size: wide(0xff, 1, 2) })],
  'a size that is no number': [[INVALID, 'BAD_HEADER', 'f'], () => rawTar({ ...file, size: '0000000009x' })],
  'a size far above the content': [
    [INVALID, 'TRUNCATED', 'f'],
    () => rawTar({ ...file, size: '00000077777' }),
  ],
  'more entries than allowed': [
    [LARGE, 'TOO_MANY_ENTRIES'],
    () => rawTar(...Array.from({ length: 51 }, (_, index) => ({ name: `f${index}` }))),
  ],
  'extended headers without an entry, again and again': [
    [LARGE, 'TOO_MANY_ENTRIES'],
    () => rawTar(...Array.from({ length: 60 }, () => pax({ comment: 'x' }))),
  ],
  'a pax header of gigabytes': [
    [LARGE, 'HEADER_TOO_LARGE'],
    () => rawTar({ name: 'p', type: 'x', size: '37777777777' }),
  ],
  'a long name of gigabytes': [
    [LARGE, 'HEADER_TOO_LARGE'],
    () => rawTar({ name: 'p', type: 'L', size: '37777777777' }),
  ],
  'a global header of gigabytes': [
    [LARGE, 'HEADER_TOO_LARGE'],
    () => rawTar({ name: 'p', type: 'g', size: '37777777777' }),
  ],
  'a gzip bomb in a file': [
    [LARGE, 'RATIO', 'zeros'],
    () => rawTar({ name: 'zeros', content: Buffer.alloc(900_000) }),
  ],
  'a gzip bomb behind the end of the archive': [
    [LARGE, 'RATIO', 'f'],
    () => Buffer.concat([rawTar(file), Buffer.alloc(900_000)]),
  ],
  // Headers
  'a wrong checksum': [[INVALID, 'BAD_HEADER', 'f'], () => rawTar({ ...file, checksum: '000001\0 ' })],
  'a header cut short': [[INVALID, 'TRUNCATED', 'f'], () => rawTar(file).subarray(0, 1024 + 100)],
  'half an end': [
    [INVALID, 'BAD_HEADER', 'f'],
    () => Buffer.concat([rawEntry(file), Buffer.alloc(512), rawTar(file)]),
  ],
  'a pax record longer than its header': [
    [INVALID, 'BAD_HEADER'],
    () => rawTar({ name: 'p', type: 'x', content: '999 path=x\n' }, file),
  ],
  'a pax record of no length': [
    [INVALID, 'BAD_HEADER'],
    () => rawTar({ name: 'p', type: 'x', content: '0 path=x\n' }, file),
  ],
  'a pax record without "="': [
    [INVALID, 'BAD_HEADER'],
    () => rawTar({ name: 'p', type: 'x', content: '8 pathx\n' }, file),
  ],
};

describe.skipIf(!isRoot)('hostile layers are refused by name and leave nothing', () => {
  expect(Object.keys(table).length).toBeGreaterThanOrEqual(40);
  for (const [name, [[code, reason, entry], make]] of Object.entries(table)) {
    it(name, async () => {
      await addRawImage(images, 'hostile', [{ archive: make() }]);
      const error = await images.unpack('hostile').then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({
        code,
        details: { reason, ...(entry === undefined ? {} : { entry }) },
        message: expect.stringContaining('entry "'),
      });
      await nothingLeft();
    });
  }

  it('a flood of FIFOs', async () => {
    images = await ImageStore.open({ home: images.home });
    const pipes = Array.from({ length: 65 }, (_, index) => ({ name: `p${index}`, type: '6' }));
    await addRawImage(images, 'hostile', [{ archive: rawTar(...pipes) }]);
    await expect(images.unpack('hostile')).rejects.toMatchObject({
      code: LARGE,
      details: { reason: 'TOO_MANY_FIFOS', entry: 'p64' },
    });
    await nothingLeft();
  });

  it('a zstd bomb, and a zstd window of gigabytes', async () => {
    const archive = rawTar({ name: 'zeros', content: Buffer.alloc(900_000) });
    const mediaType = 'application/vnd.oci.image.layer.v1.tar+zstd';
    await addRawImage(images, 'bomb', [{ archive, stored: zstdCompressSync(archive), mediaType }]);
    await expect(images.unpack('bomb')).rejects.toMatchObject({
      code: LARGE,
      details: { reason: 'RATIO', entry: 'zeros' },
    });
    const random = rawTar({ name: 'big', content: randomBytes(6_000_000) });
    await addRawImage(images, 'big', [{ archive: random, stored: zstdCompressSync(random), mediaType }]);
    await expect(images.unpack('big')).rejects.toMatchObject({ details: { reason: 'TOO_MANY_BYTES' } });
    // A frame that asks for a window of 2 GiB (descriptor byte: exponent 21, mantissa 0).
    const stored = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]);
    await addRawImage(images, 'window', [{ archive, stored, mediaType }]);
    await expect(images.unpack('window')).rejects.toMatchObject({ code: INVALID });
    await nothingLeft();
  });

  it('damaged compression of either kind', async () => {
    const archive = rawTar({ name: 'f', content: Buffer.alloc(5_000, 'abcdefg') });
    for (const [stored, mediaType] of [
      [gzipSync(archive), 'application/vnd.oci.image.layer.v1.tar+gzip'],
      [zstdCompressSync(archive), 'application/vnd.oci.image.layer.v1.tar+zstd'],
    ] as const) {
      for (const damaged of [stored.subarray(0, stored.length - 9), Buffer.from('neither')]) {
        await addRawImage(images, 'damaged', [{ archive, stored: damaged, mediaType }]);
        await expect(images.unpack('damaged')).rejects.toMatchObject({ code: INVALID });
      }
    }
    await nothingLeft();
  });

  it('a link of an earlier layer to the host is neither followed nor looked through', async () => {
    await addRawImage(images, 'planted', [
      { archive: rawTar({ name: 'd', type: '2', linkName: victim }) },
      {
        archive: rawTar(
          { name: 'd/written', content: 'x' },
          { name: 'd/.wh.secret' },
          { name: 'd/.wh..wh..opq' },
        ),
      },
    ]);
    const { top } = await images.unpack('planted');
    expect(await readdir(victim)).toEqual(['secret']);
    const files = join(images.snapshots.path, top.slice('sha256:'.length), 'fs', 'd');
    // Opaque, but the host's names are not among what it hides beyond what it names itself.
    expect((await readdir(files)).sort()).toEqual(['secret', 'written']);
    await images.remove('planted');
  });

  it('an absolute name, and a name through a link to the host, stay inside', async () => {
    await addRawImage(images, 'inside', [
      {
        archive: rawTar(
          { name: join(victim, 'absolute'), content: 'x' },
          { name: 'd', type: '2', linkName: victim },
          { name: 'd/linked', content: 'x' },
        ),
      },
    ]);
    const { top } = await images.unpack('inside');
    expect(await readdir(victim)).toEqual(['secret']);
    const root = join(images.snapshots.path, top.slice('sha256:'.length), 'fs');
    expect((await readdir(join(root, victim))).sort()).toEqual(['absolute', 'linked']);
  });
});

/** Archives near enough to real ones to get far: a mix of entries, some aimed at the victim, then damaged bytes. */
const hostileArchive = fc
  .record({
    entries: fc.array(
      fc.record({
        name: fc.oneof(
          fc.constantFrom(
            'a',
            'a/b',
            'a/b/c',
            'd',
            '../x',
            '/x',
            '.wh.a',
            'a/.wh..wh..opq',
            '.',
            './',
            'a//b',
          ),
          fc.string({ maxLength: 120 }),
        ),
        type: fc.constantFrom(
          '0',
          '0',
          '0',
          '1',
          '2',
          '2',
          '5',
          '5',
          '6',
          '3',
          'x',
          'L',
          'K',
          'g',
          'S',
          '\0',
        ),
        linkName: fc.constantFrom('a', 'd', '/', '..', '../..', 'VICTIM', 'VICTIM/secret', 'a/b', ''),
        content: fc.string({ maxLength: 700 }),
      }),
      { minLength: 1, maxLength: 8 },
    ),
    damage: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }),
    cut: fc.option(fc.nat(), { nil: undefined, freq: 4 }),
  })
  .map(({ entries, damage, cut }) => (target: string): Buffer => {
    const bytes = rawTar(
      ...entries.map((entry) => ({ ...entry, linkName: entry.linkName.replace('VICTIM', target) })),
    );
    for (const [at, value] of damage) bytes[at % bytes.length] = value;
    return cut === undefined ? bytes : bytes.subarray(0, cut % bytes.length);
  });

describe.skipIf(!isRoot)('whatever bytes a layer has', () => {
  it('nothing outside is written, nothing hangs, and what is refused leaves nothing', async () => {
    let round = 0;
    await fc.assert(
      fc.asyncProperty(hostileArchive, async (make) => {
        round += 1;
        const name = `fuzz:${round}`;
        await addRawImage(images, name, [{ archive: make(victim) }]);
        const outcome = await images.unpack(name).then(
          ({ top }) => top,
          (error: { code?: string }) => error,
        );
        if (typeof outcome !== 'string') {
          expect(outcome.code).toMatch(/^(UNSAFE_ARCHIVE|ARCHIVE_TOO_LARGE|ARCHIVE_INVALID)$/);
        } else if ((await images.snapshots.find(outcome)) !== undefined) {
          await images.snapshots.drop(outcome);
        }
        await nothingLeft();
      }),
      { numRuns: 150 },
    );
  }, 120_000);
});
