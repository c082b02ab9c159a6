// Images between our store and a real registry, and other tools on the other side of it.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerEngine, type Descriptor, ensureImage, ImageStore, RegistryClient } from '@heptad/container';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MEDIA_TYPE } from '../src/image/manifest.ts';
import { command, freePort, noRegistry, type Registry, startRegistry } from './registry-support.ts';
import { makeImage, putBlob } from './small-image.ts';
import { temporaryDirectory } from './support.ts';

const INSECURE = '--tls-verify=false';
const LARGE = randomBytes(400_000);

describe.skipIf(noRegistry !== undefined)('a registry', () => {
  let home = '';
  let registry: Registry;
  let images: ImageStore;
  let client: RegistryClient;
  let count = 0;

  const at = (name: string): string => `${registry.host}/${name}`;
  const freshStore = async (): Promise<ImageStore> => {
    count += 1;
    return await ImageStore.open({ home: join(home, `store-${count}`) });
  };

  beforeAll(async () => {
    home = await temporaryDirectory();
    registry = await startRegistry(home);
    images = await ImageStore.open({ home: join(home, 'images') });
    client = new RegistryClient();
    await makeImage(images, {
      name: at('team/app:1'),
      layers: [{ 'etc/base': LARGE }, { 'app/main': 'one' }, { 'app/more': 'two' }],
    });
    await client.push(images, at('team/app:1'));
  });

  afterAll(async () => {
    await client?.close();
    await registry?.[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  it('gives back what was pushed, says how it goes, and fetches nothing twice', async () => {
    const store = await freshStore();
    const pull = client.pull(store, at('team/app:1'), { unpack: true });
    const done: string[] = [];
    let resolved: number | undefined;
    let unpacked = 0;
    for await (const event of pull) {
      if (event.type === 'resolved') resolved = event.bytes;
      if (event.type === 'blob' && event.status === 'done') done.push(event.digest);
      if (event.type === 'unpacked') unpacked += 1;
    }
    const pulled = await pull;
    const original = await images.inspect(at('team/app:1'));
    expect(pulled).toMatchObject({
      name: at('team/app:1'),
      digest: original.digest,
      transferredBytes: resolved,
    });
    expect(new Set(done)).toEqual(
      new Set([original.manifest.config.digest, ...original.manifest.layers.map(({ digest }) => digest)]),
    );
    expect(unpacked).toBe(3);
    expect(await store.inspect(at('team/app:1'))).toEqual(original);
    expect((await client.pull(store, at('team/app:1'))).transferredBytes).toBe(0);
    await using engine = await ContainerEngine.open({
      home: join(home, 'engine'),
      imagesHome: store.home,
      runtime: 'process',
    });
    expect(await engine.check()).toMatchObject({ ok: true });
  });

  it('brings an engine the image of a container by policy', async () => {
    const home2 = join(home, 'policies');
    await using engine = await ContainerEngine.open({
      home: home2,
      runtime: 'process',
      registry: { retry: { attempts: 1 } },
    });
    const run = (image: string, pull?: 'missing' | 'always' | 'never') =>
      engine.run({ name: 'one', image, command: ['/bin/true'] }, pull === undefined ? {} : { pull });
    // A program that does not ask for a pull gets none.
    await expect(run(at('team/app:1'))).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
    await ensureImage(engine.images, engine.registry, at('team/app:1'), { policy: 'missing' });
    expect(await engine.images.list()).toHaveLength(1);
    // It is here: a registry that is away is not asked, unless the policy says so.
    const away = `127.0.0.1:${await freePort()}/app:1`;
    await engine.images.tag(at('team/app:1'), away);
    await ensureImage(engine.images, engine.registry, away, { policy: 'missing' });
    await expect(
      ensureImage(engine.images, engine.registry, away, { policy: 'always' }),
    ).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' });
    await expect(run(at('team/none:1'), 'missing')).rejects.toMatchObject({
      code: 'IMAGE_NOT_FOUND',
      message: expect.stringContaining('is not on this machine, and'),
    });
    const { digest } = await engine.pull(at('team/app:1'));
    expect(digest).toBe((await images.inspect(at('team/app:1'))).digest);
  });

  it('pulls by digest and keeps it under that name', async () => {
    const store = await freshStore();
    const { digest } = await images.inspect(at('team/app:1'));
    const pulled = await client.pull(store, `${at('team/app')}@${digest}`);
    expect(pulled.name).toBe(`${at('team/app')}@${digest}`);
    await store.gc({ minimumAgeMs: 0 });
    expect((await store.inspect(pulled.name)).digest).toBe(digest);
    await store.remove(pulled.name);
    expect((await store.gc({ minimumAgeMs: 0 })).blobs).toBeGreaterThan(0);
  });

  it('is accepted by skopeo', async () => {
    const seen = JSON.parse(await command('skopeo', 'inspect', INSECURE, `docker://${at('team/app:1')}`));
    const { digest, manifest } = await images.inspect(at('team/app:1'));
    expect(seen).toMatchObject({ Digest: digest, Layers: manifest.layers.map((layer) => layer.digest) });
    const directory = join(home, 'copied');
    await command(
      'skopeo',
      'copy',
      '--src-tls-verify=false',
      `docker://${at('team/app:1')}`,
      `oci:${directory}:x`,
    );
    expect(await readdir(join(directory, 'blobs', 'sha256'))).toContain(digest.slice('sha256:'.length));
  });

  it.each([
    ['docker schema 2', ['--format', 'v2s2'], MEDIA_TYPE.dockerManifest],
    ['OCI', ['--format', 'oci'], MEDIA_TYPE.manifest],
    ['zstd layers', ['--format', 'oci', '--dest-compress-format', 'zstd'], MEDIA_TYPE.manifest],
  ])('takes what skopeo put there: %s', async (what, flags, mediaType) => {
    const word = what.replaceAll(' ', '-').toLowerCase();
    // Content of its own, for skopeo takes what it knows to be at the registry already, in whatever form.
    await makeImage(images, { name: `local/${word}`, layers: [{ 'etc/base': what }, { 'app/main': what }] });
    await images.save([`local/${word}`], join(home, `${word}.tar`));
    const layout = join(home, `layout-${word}`);
    const archive = `oci-archive:${join(home, `${word}.tar`)}`;
    // Uncompressed on the way, or skopeo would keep our gzip.
    await command('skopeo', 'copy', '--dest-decompress', archive, `dir:${layout}`);
    const name = at(`skopeo/${word}:1`);
    await command('skopeo', 'copy', '--dest-tls-verify=false', ...flags, `dir:${layout}`, `docker://${name}`);
    expect((await client.resolve(name)).mediaType).toBe(mediaType);
    const store = await freshStore();
    await client.pull(store, name, { unpack: true });
    const { top, image } = await store.unpack(name);
    expect(image.manifest.layers[0]?.mediaType).toContain(what === 'zstd layers' ? 'zstd' : 'gzip');
    expect(image.manifest.layers).toHaveLength(2);
    const [newest] = await store.snapshots.layers(top);
    expect(newest?.entries).toBe(2);
  });

  it('takes what buildah built and pushed, and chooses among its platforms', async () => {
    const storage = [
      '--root',
      join(home, 'buildah'),
      '--runroot',
      join(home, 'buildah-run'),
      '--storage-driver',
      'vfs',
    ];
    const buildah = (...args: string[]) => command('buildah', ...storage, ...args);
    const context = join(home, 'context');
    await mkdir(context, { recursive: true });
    const list = at('buildah/multi:1');
    await buildah('manifest', 'create', list);
    for (const [architecture, variant] of [
      ['amd64', ''],
      ['arm64', ''],
      ['arm', 'v6'],
      ['arm', 'v7'],
    ]) {
      await writeFile(join(context, 'platform'), `${architecture}${variant}`);
      const container = (await buildah('from', 'scratch')).trim();
      await buildah('copy', container, join(context, 'platform'), '/platform');
      await buildah(
        'config',
        '--arch',
        architecture ?? '',
        ...(variant ? ['--variant', variant] : []),
        container,
      );
      const id = (await buildah('commit', container)).trim();
      await buildah(
        'manifest',
        'add',
        ...(variant ? ['--arch', architecture ?? '', '--variant', variant] : []),
        list,
        id,
      );
    }
    await buildah('manifest', 'push', '--all', INSECURE, list, `docker://${list}`);

    const store = await freshStore();
    const [own] = (await client.pull(store, list, { unpack: true })).images;
    expect(own?.platform).toBe(process.arch === 'x64' ? 'linux/amd64' : 'linux/arm64');
    expect((await store.inspect(list)).digest).toBe(own?.digest);
    const [seven] = (await client.pull(store, list, { platform: 'linux/arm/v7' })).images;
    const [six] = (await client.pull(store, list, { platform: 'linux/arm/v6' })).images;
    expect([seven?.platform, six?.platform]).toEqual(['linux/arm/v7', 'linux/arm/v6']);
    expect((await store.inspect(list)).digest).toBe(six?.digest);
    const all = await client.pull(store, list, { platform: 'all' });
    expect(all.images.map(({ platform }) => platform).sort()).toEqual([
      'linux/amd64',
      'linux/arm/v6',
      'linux/arm/v7',
      'linux/arm64',
    ]);
    await expect(client.pull(store, list, { platform: 'linux/s390x' })).rejects.toMatchObject({
      code: 'WRONG_PLATFORM',
      message: expect.stringContaining('linux/arm64'),
    });

    const pushed = await client.push(store, list, { as: at('copied/multi:1') });
    expect(pushed.digest).toBe(all.digest);
    const raw = JSON.parse(
      await command('skopeo', 'inspect', '--raw', INSECURE, `docker://${at('copied/multi:1')}`),
    );
    expect(raw.manifests).toHaveLength(4);
  });

  it('refuses an image for another machine unless it is asked for by platform', async () => {
    const name = at('team/foreign:1');
    await makeImage(images, { name, layers: [{ a: 'foreign' }], architecture: 's390x' });
    await client.push(images, name);
    const store = await freshStore();
    await expect(client.pull(store, name)).rejects.toMatchObject({ code: 'WRONG_PLATFORM' });
    expect(await store.list()).toEqual([]);
    expect((await client.pull(store, name, { platform: 'linux/s390x' })).images).toMatchObject([
      { platform: 'linux/s390x' },
    ]);
  });

  it('sends nothing that is there, mounts what another repository has, and chunks what is large', async () => {
    const again = await client.push(images, at('team/app:1'));
    expect(again).toMatchObject({ uploaded: [], mounted: [] });
    expect(again.present).toHaveLength(4);
    await images.tag(at('team/app:1'), at('fork/app:1'));
    const planned = await client.push(images, at('fork/app:1'), { dryRun: true });
    expect(planned.uploaded).toHaveLength(4);
    await expect(client.resolve(at('fork/app:1'))).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
    const mounted = await client.push(images, at('fork/app:1'));
    expect(mounted).toMatchObject({ uploaded: [], present: [] });
    expect(mounted.mounted).toHaveLength(4);

    const name = at('chunks/app:1');
    const content = randomBytes(1_000_000);
    await makeImage(images, { name, layers: [{ big: content }] });
    const chunked = await client.push(images, name, { chunkBytes: 100_000 });
    expect(chunked.uploaded).toHaveLength(2);
    const store = await freshStore();
    await client.pull(store, name, { unpack: true });
    expect((await store.inspect(name)).digest).toBe(chunked.digest);
  });

  it('lists tags, and deletes by digest', async () => {
    await images.tag(at('team/app:1'), at('tags/app:a'));
    await images.tag(at('team/app:1'), at('tags/app:b'));
    await client.push(images, at('tags/app:a'));
    const { digest } = await client.push(images, at('tags/app:b'));
    expect((await client.tags(at('tags/app'))).sort()).toEqual(['a', 'b']);
    await expect(client.delete(at('tags/app:a'))).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
      hint: expect.stringContaining('by digest'),
    });
    await client.delete(`${at('tags/app')}@${digest}`);
    await expect(client.pull(images, at('tags/app:a'))).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
    await expect(client.tags(at('never/was'))).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
  });

  it('carries what is attached to an image along, listed by tag where the registry has no referrers API', async () => {
    const name = at('signed/app:1');
    const target = await makeImage(images, { name, layers: [{ a: 'to be signed' }] });
    const sbom = await attachment(images, target, 'application/vnd.cyclonedx+json', {
      bomFormat: 'CycloneDX',
    });
    const other = await attachment(images, target, 'application/vnd.example.note', { note: 1 });
    const pushed = await client.push(images, name);
    expect(pushed.referrers).toBe(2);
    const list = JSON.parse(
      await command(
        'skopeo',
        'inspect',
        '--raw',
        INSECURE,
        `docker://${at('signed/app')}:sha256-${target.digest.slice(7)}`,
      ),
    );
    expect(list.manifests.map(({ digest }: Descriptor) => digest).sort()).toEqual(
      [sbom.digest, other.digest].sort(),
    );
    expect(await client.referrers(name, { artifactType: 'application/vnd.cyclonedx+json' })).toMatchObject([
      { descriptor: { digest: sbom.digest }, artifactType: 'application/vnd.cyclonedx+json' },
    ]);
    const store = await freshStore();
    await client.pull(store, name, { referrers: true });
    expect((await store.referrers(target.digest)).map(({ descriptor }) => descriptor.digest).sort()).toEqual(
      [sbom.digest, other.digest].sort(),
    );
    await store.gc({ minimumAgeMs: 0 });
    expect(await store.content.info(sbom.digest)).toBeDefined();
  });
});

async function attachment(
  images: ImageStore,
  subject: Descriptor,
  artifactType: string,
  content: unknown,
): Promise<Descriptor> {
  const config = await putBlob(images, MEDIA_TYPE.empty, {});
  const layer = await putBlob(images, artifactType, content);
  const manifest = await putBlob(images, MEDIA_TYPE.manifest, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    artifactType,
    config,
    layers: [layer],
    subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size },
  });
  await images.attach(manifest);
  return manifest;
}
