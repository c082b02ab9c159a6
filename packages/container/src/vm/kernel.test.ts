import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isHeptadError } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { findKernel, loadOrder } from './kernel.ts';

const DEPENDENCIES = `kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko
`;

describe('loadOrder', () => {
  it('puts what a module needs before it, each once', () => {
    const order = loadOrder(DEPENDENCIES, ['virtio_blk', 'virtio_rng', 'not-there']).map((path) =>
      path.split('/').at(-1),
    );
    expect(order).toEqual(['virtio.ko', 'virtio_ring.ko', 'virtio_blk.ko', 'virtio-rng.ko']);
  });

  it('ends on modules that need each other', () => {
    expect(loadOrder('a.ko: b.ko\nb.ko: a.ko\n', ['a'])).toEqual(['b.ko', 'a.ko']);
  });
});

describe('findKernel', () => {
  it('prefers the newest cloud kernel that has its modules, and says how to get one', async () => {
    const root = await mkdtemp(join(tmpdir(), 'kernel-'));
    const none = await findKernel(join(root, 'boot'), join(root, 'modules')).catch((error: unknown) => error);
    expect(isHeptadError(none, 'RUNTIME_UNAVAILABLE')).toBe(true);
    await mkdir(join(root, 'boot'));
    for (const release of [
      '6.1.0-9-cloud-amd64',
      '6.1.0-56-cloud-amd64',
      '6.9.0-1-amd64',
      '6.1.0-99-cloud-amd64',
    ]) {
      await writeFile(join(root, 'boot', `vmlinuz-${release}`), '');
      if (release.includes('-99-')) continue;
      await mkdir(join(root, 'modules', release), { recursive: true });
      await writeFile(join(root, 'modules', release, 'modules.dep'), '');
    }
    expect((await findKernel(join(root, 'boot'), join(root, 'modules'))).release).toBe(
      '6.1.0-56-cloud-amd64',
    );
    await rm(root, { recursive: true });
  });
});
