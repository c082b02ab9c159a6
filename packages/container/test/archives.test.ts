// Archives between engines: what we save, skopeo and Docker read; what they write, we read; to the same content.

import { type ChildProcess, spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { ImageStore } from '@heptad/container';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run, runOrThrow } from '../src/system/command.ts';
import { addRawImage } from './layer-images.ts';
import { rawTar } from './raw-tar.ts';
import { temporaryDirectory } from './support.ts';

let home: string;
let images: ImageStore;

const LAYERS = [
  rawTar({ name: 'etc', type: '5', mode: '0000755' }, { name: 'etc/a', content: 'a'.repeat(5_000) }),
  rawTar({ name: 'b', content: 'b' }, { name: 'etc/.wh.a' }),
].map((archive) => ({ archive }));
const DIFF_IDS = async (store: ImageStore, name: string): Promise<readonly string[]> =>
  (await store.inspect(name)).config.rootfs.diff_ids;

async function missing(program: string): Promise<boolean> {
  const isThere = await run(program, ['--version']).then(
    ({ exitCode }) => exitCode === 0,
    () => false,
  );
  if (!isThere && process.env.CI === 'true') throw new Error(`${program} must be installed in CI`);
  return !isThere;
}

const noSkopeo = await missing('skopeo');
const noDocker = process.getuid?.() !== 0 || (await missing('dockerd')) || (await missing('docker'));

beforeEach(async () => {
  home = await temporaryDirectory();
  images = await ImageStore.open({ home: join(home, 'images') });
  await addRawImage(images, 'registry.example/team/app:1', LAYERS);
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

/** skopeo with a policy of its own, so that the machine's does not matter. */
async function skopeo(...args: string[]): Promise<string> {
  const policy = join(home, 'policy.json');
  await writeFile(policy, JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }));
  return await runOrThrow('skopeo', ['--policy', policy, '--tmpdir', home, ...args], {
    env: { HOME: home, XDG_RUNTIME_DIR: home },
  });
}

async function otherStore(): Promise<ImageStore> {
  return await ImageStore.open({ home: join(home, 'other') });
}

describe.skipIf(noSkopeo)('skopeo', () => {
  it('reads what we save, as an OCI and as a docker archive', async () => {
    const file = join(home, 'app.tar');
    await images.save(['registry.example/team/app:1'], file);
    const { digest } = await images.inspect('registry.example/team/app:1');
    for (const [transport, target] of [
      ['oci-archive', 'oci'],
      ['docker-archive', 'dir'],
    ]) {
      const source = `${transport}:${file}`;
      const { Digest: seen, Layers } = JSON.parse(await skopeo('inspect', source)) as {
        Digest: string;
        Layers: string[];
      };
      expect(Layers).toHaveLength(2);
      if (transport === 'oci-archive') expect(seen).toBe(digest);
      await mkdir(join(home, `${target}-out`));
      await skopeo('copy', source, `${target}:${join(home, `${target}-out`)}`);
    }
  });

  it('writes OCI and docker archives that we read, to the same layers', async () => {
    const saved = join(home, 'app.tar');
    await images.save(['registry.example/team/app:1'], saved);
    const expected = await DIFF_IDS(images, 'registry.example/team/app:1');
    for (const [index, target] of [
      `oci-archive:${join(home, 'a.tar')}:registry.example/copy:2`,
      `docker-archive:${join(home, 'b.tar')}:registry.example/copy:3`,
      `oci-archive:${join(home, 'c.tar')}`,
    ].entries()) {
      await skopeo('copy', `oci-archive:${saved}`, target);
      const other = await otherStore();
      const [tag] = await other.load(target.split(':')[1] ?? '');
      expect(tag?.name).toMatch(
        [/^registry.example\/copy:2$/, /^registry.example\/copy:3$/, /^loaded:/][index] ?? /$^/,
      );
      expect(await DIFF_IDS(other, tag?.name ?? '')).toEqual(expected);
      if (process.getuid?.() === 0) await other.unpack(tag?.name ?? '');
    }
  });

  it('writes zstd layers that we read and unpack', async () => {
    const saved = join(home, 'app.tar');
    await images.save(['registry.example/team/app:1'], saved);
    const target = join(home, 'z.tar');
    await skopeo(
      'copy',
      '--dest-compress-format',
      'zstd',
      '--format',
      'oci',
      `docker-archive:${saved}`,
      `oci:${join(home, 'z')}:z`,
    );
    await runOrThrow('tar', ['-C', join(home, 'z'), '-cf', target, '.']);
    const other = await otherStore();
    const [tag] = await other.load(target);
    for (const { mediaType } of (await other.inspect(tag?.name ?? '')).manifest.layers)
      expect(mediaType).toBe('application/vnd.oci.image.layer.v1.tar+zstd');
    expect(await DIFF_IDS(other, tag?.name ?? '')).toEqual(
      await DIFF_IDS(images, 'registry.example/team/app:1'),
    );
    if (process.getuid?.() === 0) await other.unpack(tag?.name ?? '');
  });
});

describe.skipIf(noDocker)('Docker', () => {
  let daemon: ChildProcess;
  let place: string;
  let socket: string;

  beforeAll(async () => {
    place = await temporaryDirectory();
    socket = `unix://${join(place, 'docker.sock')}`;
    const options = ['--data-root', join(place, 'data'), '--exec-root', join(place, 'exec')];
    const network = ['--bridge', 'none', '--iptables=false', '--ip6tables=false'];
    daemon = spawn(
      'dockerd',
      ['--host', socket, '--pidfile', join(place, 'pid'), ...options, ...network, '--storage-driver', 'vfs'],
      { stdio: 'ignore' },
    );
    for (let attempt = 0; attempt < 300; attempt += 1) {
      if ((await run('docker', ['--host', socket, 'version'])).exitCode === 0) return;
      await sleep(100);
    }
    throw new Error('dockerd did not start');
  }, 60_000);

  afterAll(async () => {
    const ended = new Promise((resolve) => daemon.on('close', resolve));
    daemon.kill('SIGTERM');
    await ended;
    for (const name of await readdir(join(place, 'exec')).catch(() => []))
      await run('umount', ['--recursive', '--lazy', join(place, 'exec', name)]);
    await rm(place, { recursive: true, force: true });
  }, 60_000);

  const docker = (...args: string[]): Promise<string> =>
    runOrThrow('docker', ['--host', socket, ...args], { env: { HOME: place }, timeoutMs: 60_000 });

  it('loads what we save, and we load what it saves, to the same layers', async () => {
    const file = join(home, 'app.tar');
    await images.save(['registry.example/team/app:1'], file);
    expect(await docker('load', '-i', file)).toContain('registry.example/team/app:1');
    const layers = JSON.parse(
      await docker('image', 'inspect', '--format', '{{json .RootFS.Layers}}', 'registry.example/team/app:1'),
    ) as string[];
    const expected = await DIFF_IDS(images, 'registry.example/team/app:1');
    expect(layers).toEqual(expected);
    await docker('tag', 'registry.example/team/app:1', 'renamed:7');
    const back = join(home, 'back.tar');
    await docker('save', '-o', back, 'renamed:7', 'registry.example/team/app:1');
    const other = await otherStore();
    const tags = await other.load(createReadStream(back));
    expect(tags.map(({ name }) => name).sort()).toEqual(['registry.example/team/app:1', 'renamed:7']);
    for (const { name } of tags) expect(await DIFF_IDS(other, name)).toEqual(expected);
    await other.unpack('renamed:7');
  }, 60_000);
});

describe('archives', () => {
  it('several images in one, by stream, share their layers', async () => {
    await addRawImage(images, 'second', LAYERS.slice(0, 1));
    const stream = new PassThrough();
    const other = await otherStore();
    const [tags] = await Promise.all([
      other.load(stream),
      images.save(['registry.example/team/app:1', 'second'], stream),
    ]);
    expect(tags.map(({ name }) => name)).toEqual(['registry.example/team/app:1', 'second:latest']);
    expect((await other.content.digests()).length).toBe(6);
    expect(await other.leases.list()).toEqual([]);
  });

  it('a hostile archive is refused by name, before it fills memory or disk', async () => {
    const other = await otherStore();
    const file = join(home, 'hostile.tar');
    const flood = Array.from({ length: 20 }, (_, index) => ({
      name: `${index}.json`,
      content: Buffer.alloc(4_000_000, '{'),
    }));
    const cases: [string, Buffer][] = [
      ['ARCHIVE_TOO_LARGE', gzipSync(rawTar(...flood), { level: 1 })],
      ['ARCHIVE_TOO_LARGE', rawTar({ name: 'p', type: 'x', size: '37777777777' })],
      [
        'ARCHIVE_INVALID',
        rawTar({ name: `blobs/sha256/${'a'.repeat(64)}`, size: '00000077777', content: 'x' }),
      ],
      ['DIGEST_MISMATCH', rawTar({ name: `blobs/sha256/${'a'.repeat(64)}`, content: 'x' })],
      ['ARCHIVE_INVALID', rawTar({ name: '../../index.json', content: '{}' })],
      ['ARCHIVE_INVALID', gzipSync(rawTar({ name: 'x' })).subarray(0, 40)],
      ['ARCHIVE_INVALID', Buffer.alloc(0)],
    ];
    for (const [code, bytes] of cases) {
      await writeFile(file, bytes);
      await expect(other.load(file)).rejects.toMatchObject({ code });
    }
    expect(await other.list()).toEqual([]);
    expect(await other.content.digests()).toEqual([]);
    expect(await readdir(join(home, 'other/content/ingest'))).toEqual([]);
    expect(await other.leases.list()).toEqual([]);
    await images.save(['registry.example/team/app:1'], file);
    await writeFile(`${file}.zst`, zstdCompressSync(await readFile(file)));
    expect(await other.load(`${file}.zst`)).toHaveLength(1);
  });

  it('the steps of an image are told, the newest first, each with its layer', async () => {
    const put = async (value: unknown): Promise<{ digest: string; size: number }> => {
      const bytes = Buffer.from(JSON.stringify(value));
      return await images.content.ingest(`history-${bytes.length}`, [bytes]);
    };
    const { manifest, config } = await images.inspect('registry.example/team/app:1');
    const history = [
      { created: '2024-01-01T00:00:00Z', created_by: 'ADD base' },
      { created_by: 'ENV A=1', empty_layer: true },
    ];
    const changed = await put({ ...config, history });
    const made = await put({
      ...manifest,
      config: { ...manifest.config, digest: changed.digest, size: changed.size },
    });
    await images.setTag('told', {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: made.digest,
      size: made.size,
    });
    expect(
      (await images.history('told')).map((step) => [step.createdBy, step.layer, step.sizeBytes]),
    ).toEqual([
      ['', manifest.layers[1]?.digest, manifest.layers[1]?.size],
      ['ENV A=1', undefined, 0],
      ['ADD base', manifest.layers[0]?.digest, manifest.layers[0]?.size],
    ]);
  });
});
