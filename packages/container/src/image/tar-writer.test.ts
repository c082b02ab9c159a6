import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TarHeader } from './tar-header.ts';
import { TarReader } from './tar-reader.ts';
import { endOfArchive, entryBlocks, padding } from './tar-writer.ts';

async function* archiveOf(entries: readonly (readonly [TarHeader, Buffer])[]): AsyncGenerator<Uint8Array> {
  for (const [header, content] of entries) {
    yield entryBlocks(header);
    yield content;
    yield padding(content.length);
  }
  yield endOfArchive();
}

const name = fc.string({ unit: fc.constantFrom(...'abcé/'.split('')), minLength: 1, maxLength: 300 });
const entry = fc
  .record({
    name: name.map((text) => `x${Buffer.from(text).toString('latin1')}`),
    mode: fc.nat(0o7777),
    uid: fc.nat(2 ** 31),
    gid: fc.nat(2 ** 31),
    mtime: fc.oneof(fc.nat(2 ** 31), fc.integer({ min: -1000, max: 0 }), fc.constant(1.5)),
    content: fc.uint8Array({ maxLength: 1500 }),
    xattr: fc.uint8Array({ maxLength: 40 }),
  })
  .map(({ content, xattr, ...facts }): readonly [TarHeader, Buffer] => [
    {
      ...facts,
      ...{ linkName: '', type: 'file', flag: '0', size: content.length, devMajor: 0, devMinor: 0 },
      xattrs: new Map(xattr.length === 0 ? [] : [['security.capability', Buffer.from(xattr)]]),
    },
    Buffer.from(content),
  ]);

describe('entryBlocks', () => {
  it('writes what the reader reads back', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 5 }), async (entries) => {
        const reader = new TarReader(archiveOf(entries), { maxEntries: 100 });
        for (const [header, content] of entries) {
          const read = await reader.next();
          expect({ ...read, xattrs: undefined }).toEqual({ ...header, xattrs: undefined });
          expect([...(read?.xattrs ?? [])]).toEqual([...header.xattrs]);
          const chunks: Buffer[] = [];
          for (let chunk = await reader.chunk(); chunk !== undefined; chunk = await reader.chunk())
            chunks.push(Buffer.from(chunk));
          expect(Buffer.concat(chunks).equals(content)).toBe(true);
        }
        expect(await reader.next()).toBeUndefined();
      }),
    );
  });
});
