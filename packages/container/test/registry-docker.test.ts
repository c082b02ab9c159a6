// What we push, a Docker Engine pulls; what it pushes, we pull. The daemon is the test's own, without networks.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageStore, RegistryClient } from '@heptad/container';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MEDIA_TYPE } from '../src/image/manifest.ts';
import { command, noRegistry, type Registry, startRegistry, stop, whyNot } from './registry-support.ts';
import { makeImage } from './small-image.ts';
import { temporaryDirectory } from './support.ts';

const noDocker = noRegistry ?? whyNot(['dockerd', 'docker']);

describe.skipIf(noDocker !== undefined)('Docker', () => {
  let home = '';
  let registry: Registry;
  let daemon: ChildProcess;
  let host = '';
  let images: ImageStore;
  let client: RegistryClient;
  const at = (name: string): string => `${registry.host}/${name}`;
  const docker = (...args: string[]): Promise<string> => command('docker', '--host', host, ...args);

  beforeAll(async () => {
    home = await temporaryDirectory();
    registry = await startRegistry(home);
    const directory = join(home, 'docker');
    await mkdir(directory);
    host = `unix://${join(directory, 'docker.sock')}`;
    const places = ['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')];
    const apart = ['--bridge=none', '--iptables=false', '--ip-forward=false', '--ip-masq=false'];
    daemon = spawn('dockerd', [...places, '--pidfile', join(directory, 'pid'), '--host', host, ...apart], {
      stdio: 'ignore',
    });
    await untilUp();
    images = await ImageStore.open({ home: join(home, 'images') });
    client = new RegistryClient({ dockerConfig: false });
  });

  afterAll(async () => {
    await client?.close();
    if (daemon !== undefined) await stop(daemon);
    await registry?.[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  const untilUp = async (): Promise<void> => {
    for (let attempt = 0; attempt < 300; attempt += 1) {
      if (daemon.exitCode !== null) throw new Error(`dockerd ended with ${daemon.exitCode}`);
      const isUp = await docker('version').then(
        () => true,
        () => false,
      );
      if (isUp) return;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    throw new Error('dockerd did not answer within a minute');
  };

  it('pulls what we pushed, and we pull what it pushed', async () => {
    const name = at('ours/app:1');
    const { digest } = await makeImage(images, {
      name,
      layers: [{ 'etc/base': randomBytes(200_000) }, { 'app/main': 'ours' }],
    });
    await client.push(images, name, { chunkBytes: 65_536 });
    await docker('pull', name);
    const [digests] = JSON.parse(await docker('image', 'inspect', '--format', '{{json .RepoDigests}}', name));
    expect(digests).toBe(`${at('ours/app')}@${digest}`);
    expect((await docker('image', 'inspect', '--format', '{{len .RootFS.Layers}}', name)).trim()).toBe('2');

    const theirs = at('theirs/app:1');
    await docker('tag', name, theirs);
    await docker('push', theirs);
    expect((await client.resolve(theirs)).mediaType).toBe(MEDIA_TYPE.dockerManifest);
    const store = await ImageStore.open({ home: join(home, 'store') });
    await client.pull(store, theirs, { unpack: true });
    const pulled = await store.inspect(theirs);
    expect(pulled.config.rootfs.diff_ids).toEqual((await images.inspect(name)).config.rootfs.diff_ids);
  });
});
