// The two numbers of an owner in a container with a user namespace: its own, and the host's, which a look from outside shows.

import type { IdMapping } from '@heptad/core';
import { TarReader } from '../../image/tar-reader.ts';
import { endOfArchive, entryBlocks, padding } from '../../image/tar-writer.ts';
import type { IdMappings } from '../idmapped-mount.ts';
import { hostId } from '../mapped-root.ts';
import type { OciIdMapping, OciSpec } from '../spec.ts';

/** A user and a group. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

// What a process in the container is shown for an id that it has none for: /proc/sys/kernel/overflowuid.
const OVERFLOW_ID = 65_534;
const MAX_ENTRIES = 10_000_000;
const CAPABILITY = 'security.capability';
const ACL_PREFIX = 'system.posix_acl_';
// linux/capability.h: the magic of the form with the id of the namespace's root at its end, and of the one without.
const CAPABILITY_V3 = 3;
const CAPABILITY_V3_BYTES = 24;
const CAPABILITY_ROOT_AT = 20;
const CAPABILITY_V2_BYTES = 20;
// linux/posix_acl_xattr.h: a version, then entries of tag, permissions and id; two tags name somebody.
const ACL_HEADER_BYTES = 4;
const ACL_ENTRY_BYTES = 8;
const ACL_USER = 0x02;
const ACL_GROUP = 0x08;

/** Translates owners. */
export class ContainerIds {
  private readonly mappings: IdMappings;

  private constructor(mappings: IdMappings) {
    this.mappings = mappings;
  }

  /** Those of the container that `spec` describes; undefined when it has the host's. */
  static of({ linux }: OciSpec): ContainerIds | undefined {
    const { uidMappings, gidMappings } = linux;
    if (uidMappings === undefined || gidMappings === undefined) return undefined;
    return new ContainerIds({ uids: uidMappings.map(mappingOf), gids: gidMappings.map(mappingOf) });
  }

  /** The container's root on the host. */
  get root(): Owner {
    return this.outside({ uid: 0, gid: 0 });
  }

  /** The host's numbers. Throws `INVALID_ARGUMENT` for those that the container does not have. */
  outside({ uid, gid }: Owner): Owner {
    return { uid: hostId(this.mappings.uids, uid), gid: hostId(this.mappings.gids, gid) };
  }

  /** The container's numbers. */
  inside({ uid, gid }: Owner): Owner {
    return { uid: insideId(this.mappings.uids, uid), gid: insideId(this.mappings.gids, gid) };
  }

  /** An extended attribute with the container's numbers: file capabilities and access lists name users too. */
  insideAttribute(name: string, value: Buffer): Buffer {
    if (name === CAPABILITY) return this.capability(value);
    return name.startsWith(ACL_PREFIX) ? this.accessList(value) : value;
  }

  private capability(value: Buffer): Buffer {
    if (value.length !== CAPABILITY_V3_BYTES || value.readUInt8(3) !== CAPABILITY_V3) return value;
    const root = insideId(this.mappings.uids, value.readUInt32LE(CAPABILITY_ROOT_AT));
    const changed = Buffer.from(value);
    changed.writeUInt32LE(root, CAPABILITY_ROOT_AT);
    if (root !== 0) return changed;
    // Of the container's own root: the plain form, as in an image.
    changed.writeUInt8(2, 3);
    return changed.subarray(0, CAPABILITY_V2_BYTES);
  }

  private accessList(value: Buffer): Buffer {
    const changed = Buffer.from(value);
    for (let at = ACL_HEADER_BYTES; at + ACL_ENTRY_BYTES <= value.length; at += ACL_ENTRY_BYTES) {
      const tag = value.readUInt16LE(at);
      if (tag !== ACL_USER && tag !== ACL_GROUP) continue;
      const ranges = tag === ACL_USER ? this.mappings.uids : this.mappings.gids;
      changed.writeUInt32LE(insideId(ranges, value.readUInt32LE(at + 4)), at + 4);
    }
    return changed;
  }
}

/** An archive that was made outside, with the numbers that the container sees. */
export async function* withInsideIds(
  archive: AsyncIterable<Uint8Array>,
  ids: ContainerIds,
): AsyncGenerator<Uint8Array> {
  const reader = new TarReader(archive, { maxEntries: MAX_ENTRIES });
  try {
    for (let header = await reader.next(); header !== undefined; header = await reader.next()) {
      const xattrs = new Map(
        [...header.xattrs].map(([name, value]) => [name, ids.insideAttribute(name, value)]),
      );
      yield entryBlocks({ ...header, ...ids.inside(header), xattrs });
      for (let chunk = await reader.chunk(); chunk !== undefined; chunk = await reader.chunk())
        yield Buffer.from(chunk);
      yield padding(header.size);
    }
    yield endOfArchive();
  } finally {
    await reader.close();
  }
}

function mappingOf({ containerID, hostID, size }: OciIdMapping): IdMapping {
  return { containerId: containerID, hostId: hostID, size };
}

function insideId(ranges: readonly IdMapping[], id: number): number {
  const range = ranges.find((each) => each.hostId <= id && id < each.hostId + each.size);
  return range === undefined ? OVERFLOW_ID : range.containerId + (id - range.hostId);
}
