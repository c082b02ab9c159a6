import { describe, expect, it } from 'vitest';
import { TarReader } from '../../image/tar-reader.ts';
import { endOfArchive, entryBlocks, padding } from '../../image/tar-writer.ts';
import type { OciIdMapping, OciSpec } from '../spec.ts';
import { ContainerIds, withInsideIds } from './container-ids.ts';

const specOf = (mappings?: readonly OciIdMapping[]): OciSpec =>
  // Nothing else of the document is read.
  ({ linux: { uidMappings: mappings, gidMappings: mappings } }) as unknown as OciSpec;
const found = ContainerIds.of(specOf([{ containerID: 0, hostID: 100_000, size: 1000 }]));
if (found === undefined) throw new Error('there are mappings');
const ids = found;

/** vfs_ns_cap_data: CAP_NET_BIND_SERVICE, effective. */
function capability(version: 2 | 3, root = 0): Buffer {
  const value = Buffer.alloc(version === 3 ? 24 : 20);
  value.writeUInt32LE(version * 0x0100_0000 + 1, 0);
  value.writeUInt32LE(1 << 10, 4);
  if (version === 3) value.writeUInt32LE(root, 20);
  return value;
}

function accessList(
  ...entries: readonly (readonly [tag: number, permissions: number, id: number])[]
): Buffer {
  const value = Buffer.alloc(4 + entries.length * 8);
  value.writeUInt32LE(2, 0);
  for (const [index, [tag, permissions, id]] of entries.entries()) {
    value.writeUInt16LE(tag, 4 + index * 8);
    value.writeUInt16LE(permissions, 6 + index * 8);
    value.writeUInt32LE(id, 8 + index * 8);
  }
  return value;
}

describe('ContainerIds', () => {
  it('is nothing without a user namespace', () => {
    expect(ContainerIds.of(specOf())).toBeUndefined();
  });

  it('translates both ways; who has no number inside is nobody there, and cannot be meant from inside', () => {
    expect(ids.root).toEqual({ uid: 100_000, gid: 100_000 });
    expect(ids.inside({ uid: 100_999, gid: 100_000 })).toEqual({ uid: 999, gid: 0 });
    expect(ids.inside({ uid: 0, gid: 101_000 })).toEqual({ uid: 65_534, gid: 65_534 });
    expect(() => ids.outside({ uid: 0, gid: 1000 })).toThrow('no id 1000');
  });

  it("file capabilities of the container's root are as in an image, those of another root stay that one's", () => {
    const name = 'security.capability';
    expect(ids.insideAttribute(name, capability(3, 100_000))).toEqual(capability(2));
    expect(ids.insideAttribute(name, capability(3, 100_007))).toEqual(capability(3, 7));
    expect(ids.insideAttribute(name, capability(2))).toEqual(capability(2));
  });

  it('access lists name the users and groups of the container, in both kinds', () => {
    const everybody = 0xffff_ffff;
    for (const name of ['system.posix_acl_access', 'system.posix_acl_default'])
      expect(
        ids.insideAttribute(
          name,
          accessList([0x01, 7, everybody], [0x02, 6, 100_005], [0x08, 4, 100_006], [0x20, 0, everybody]),
        ),
      ).toEqual(accessList([0x01, 7, everybody], [0x02, 6, 5], [0x08, 4, 6], [0x20, 0, everybody]));
    expect(ids.insideAttribute('user.note', Buffer.from('as it is'))).toEqual(Buffer.from('as it is'));
  });

  it('an archive keeps everything but its numbers', async () => {
    const content = Buffer.from('what is in it');
    const header = {
      type: 'file',
      flag: '0',
      name: 'a'.repeat(300),
      linkName: '',
      size: content.length,
      mode: 0o4755,
      uid: 100_001,
      gid: 100_002,
      mtime: 12.5,
      devMajor: 0,
      devMinor: 0,
      xattrs: new Map([['security.capability', capability(3, 100_000)]]),
    } as const;
    const reader = new TarReader(
      withInsideIds(
        (async function* () {
          yield Buffer.concat([entryBlocks(header), content, padding(content.length), endOfArchive()]);
        })(),
        ids,
      ),
      { maxEntries: 2 },
    );
    expect(await reader.next()).toMatchObject({
      ...header,
      uid: 1,
      gid: 2,
      xattrs: new Map([['security.capability', capability(2)]]),
    });
    expect(Buffer.from((await reader.chunk()) ?? [])).toEqual(content);
  });
});
