// The ObjectStore contract, case by case, against three storage nodes on real disks.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryStateStore } from '@heptad/core';
import { objectStoreConformance } from '@heptad/core/conformance';
import { describe, it } from 'vitest';
import { DistributedStorage, StorageNode } from '../src/index.ts';

const token = 'the-token-of-the-conformance-suite';

async function freshStore() {
  const root = await mkdtemp(join(tmpdir(), 'heptad-conformance-'));
  const start = (id: string): Promise<StorageNode> =>
    StorageNode.start({ id, directory: join(root, id), capacityBytes: 1024 ** 3, token });
  const nodes = await Promise.all(['a', 'b', 'c'].map(start));
  const stateStore = new MemoryStateStore();
  const store = new DistributedStorage({ nodes, token, stateStore });
  return {
    store,
    [Symbol.asyncDispose]: async () => {
      await store.close();
      await Promise.all(nodes.map((node) => node.close()));
      await stateStore[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true });
    },
  };
}

describe('DistributedStorage conforms to ObjectStore', () => {
  for (const { name, run } of objectStoreConformance) it(name, () => run(freshStore));
});
