// Three storage nodes with a disk directory each: written to a quorum, read after a node is gone, mended when it is back.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isHeptadError } from '@heptad/core';
import { DistributedStorage, StorageNode } from '@heptad/storage';

const token = 'an-example-token-of-some-length';
const root = await mkdtemp(join(tmpdir(), 'example-storage-'));
const start = (id: string, port = 0) =>
  StorageNode.start({ id, directory: join(root, id), capacityBytes: 16 * 1024 ** 2, token, port });
const nodes = await Promise.all(['a', 'b', 'c'].map((id) => start(id)));
const storage = new DistributedStorage({ nodes, token });

await storage.put('orders', '2026/0001', 'two apples', { consistency: 'strong' });
const text = async (key: string) =>
  Buffer.from((await storage.get('orders', key, { consistency: 'strong' })).body).toString();
console.log(await text('2026/0001'));

const [first, second, third] = nodes;
if (first === undefined || second === undefined || third === undefined)
  throw new Error('three nodes were started');
await first.close();
await storage.put('orders', '2026/0002', 'three pears', { consistency: 'strong' });
console.log(await text('2026/0002'), '(with one node down)');

await second.close();
try {
  await storage.put('orders', '2026/0003', 'no quorum', { consistency: 'strong' });
} catch (error) {
  if (!isHeptadError(error)) throw error;
  console.log(error.code, '-', error.message);
}

const back = await Promise.all([
  start('a', Number(first.address.split(':')[1])),
  start('b', Number(second.address.split(':')[1])),
]);
await storage.repair();
for await (const object of storage.list('orders')) console.log(object.key, object.sizeBytes, 'bytes');

await storage.close();
for (const node of [...back, third]) await node.close();
await rm(root, { recursive: true });
