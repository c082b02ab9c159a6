// The files of a container in whatever state it is: statPath, copyOut, copyIn, diff, export and commit.

import { mkdir, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { ArchiveStream, CommitOptions, CopyInOptions, FileChange, FileStat } from '@heptad/core';
import { ContainerError } from '../../errors.ts';
import type { ImageStore } from '../../image/image-store.ts';
import { isLive } from '../../lifecycle/container-directory.ts';
import { type ContainerRecord, mountsOf } from '../../lifecycle/record.ts';
import { run } from '../../system/command.ts';
import { isAlive } from '../../system/processes.ts';
import { mappedVolumeAt } from '../mapped-root.ts';
import { unmountBelow } from '../mounts.ts';
import { type ContainerPaths, containerPaths } from '../paths.ts';
import type { OciSpec } from '../spec.ts';
import { archive } from './archive.ts';
import { asLayer, commitImage } from './commit.ts';
import { ContainerIds, type Owner, withInsideIds } from './container-ids.ts';
import { copyIn } from './copy-in.ts';
import { MappedCreator, OwnCreator } from './creator.ts';
import { type Diff, diffOf } from './diff.ts';
import { type Found, Rooted, within } from './rooted.ts';

/** Finds the files by the container's record. Of a container that is stopped the caller holds the lock. */
export class ContainerFiles {
  private readonly home: string;
  private readonly images: ImageStore;
  private readonly volumes: string;

  constructor(home: string, images: ImageStore, volumes: string) {
    this.home = home;
    this.images = images;
    this.volumes = volumes;
  }

  async stat(record: ContainerRecord, path: string): Promise<FileStat> {
    await using rooted = await this.open(record);
    const found = await rooted.find(path);
    return await statOf(found, path, idsAt(found.logical, record, await this.config(record)));
  }

  async copyOut(
    record: ContainerRecord,
    path: string,
    options: { signal?: AbortSignal },
  ): Promise<ArchiveStream> {
    await using rooted = await this.open(record);
    const found = await rooted.find(path);
    const ids = idsAt(found.logical, record, await this.config(record));
    const stat = await statOf(found, path, ids);
    // The root itself is copied without the memory and kernel file systems mounted in it.
    const isRoot = found.logical === '/';
    const tar = archive(found.directory, [found.name], { ...options, oneFileSystem: isRoot });
    return { stat, content: ids === undefined ? tar : withInsideIds(tar, ids) };
  }

  async copyIn(
    record: ContainerRecord,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: CopyInOptions,
  ): Promise<void> {
    const config = await this.config(record);
    await using rooted = await this.open(record);
    if (!isLive(record)) await requireWritable(record, rooted, config.mounts, path);
    const ids = ContainerIds.of(config);
    await using creator =
      ids !== undefined && isLive(record) ? new MappedCreator(ids.root) : new OwnCreator();
    const ownerAt = (logical: string, owner: Owner): Owner =>
      idsAt(logical, record, config)?.outside(owner) ?? owner;
    await copyIn({ rooted, path, creator, user: config.process.user, ownerAt }, tar, options);
  }

  async diff(record: ContainerRecord): Promise<FileChange[]> {
    return (await this.compare(record)).changes;
  }

  async exportRootfs(
    record: ContainerRecord,
    options: { signal?: AbortSignal },
  ): Promise<AsyncIterable<Uint8Array>> {
    await using rooted = await this.openRootfs(record);
    const names = await readdir(within(rooted.handle, '.'));
    const all = names.length === 0 ? ['.'] : names;
    const tar = archive(rooted.handle, all, { ...options, oneFileSystem: true });
    const ids = idsAt('/', record, await this.config(record));
    return ids === undefined ? tar : withInsideIds(tar, ids);
  }

  async commit(record: ContainerRecord, options: CommitOptions): Promise<{ digest: string }> {
    const paths = containerPaths(this.home, record.id);
    const { ignored } = await this.compare(record);
    const base = await this.images.inspect(record.imageDigest ?? record.spec.image);
    await using upper = await Rooted.open(paths.upper);
    const names = await readdir(within(upper.handle, '.'));
    const layer = asLayer(archive(upper.handle, names.length === 0 ? ['.'] : names), ignored);
    return { digest: await commitImage(this.images, base, layer, options) };
  }

  private async compare(record: ContainerRecord): Promise<Diff> {
    const paths = containerPaths(this.home, record.id);
    const { mounts } = await this.config(record);
    const scratch = join(paths.bundle, 'base');
    const parts = { upper: join(scratch, 'upper'), work: join(scratch, 'work') };
    await rm(scratch, { recursive: true, force: true });
    for (const path of Object.values(parts)) await mkdir(path, { recursive: true });
    try {
      await using lower = await this.mounted(record, join(scratch, 'root'), parts);
      await using merged = await this.openRootfs(record);
      await using upper = await Rooted.open(paths.upper);
      const mountPoints = new Set(mounts.map(({ destination }) => destination));
      return await diffOf({ upper: upper.handle, lower: lower.handle, merged: merged.handle, mountPoints });
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
  }

  /** What a process in the container sees; of one that is stopped, its files and volumes. */
  private async open(record: ContainerRecord): Promise<Rooted> {
    if (!isLive(record))
      return await this.openRootfs(record, this.volumesOf(record, await this.config(record)));
    const { process } = record;
    if (process === undefined) throw gone(record);
    const rooted = await Rooted.open(`/proc/${process.pid}/root`).catch(() => undefined);
    // Looked at after opening: the pid may have become another process's just before.
    if (rooted !== undefined && isAlive(process)) return rooted;
    await rooted?.[Symbol.asyncDispose]();
    throw gone(record);
  }

  /** The container's root file system alone, from outside. */
  private async openRootfs(record: ContainerRecord, volumes?: ReadonlyMap<string, string>): Promise<Rooted> {
    const paths = containerPaths(this.home, record.id);
    if (isLive(record)) return await Rooted.open(paths.rootfs, volumes);
    return await this.mounted(record, join(paths.bundle, 'view'), paths, volumes);
  }

  /** Mounts the image below `upper`, and detaches it again at once: it lasts as long as somebody has it open. */
  private async mounted(
    record: ContainerRecord,
    target: string,
    parts: Pick<ContainerPaths, 'upper' | 'work'>,
    volumes?: ReadonlyMap<string, string>,
  ): Promise<Rooted> {
    const { top } = await this.images.unpack(record.imageDigest ?? record.spec.image);
    await mkdir(target, { recursive: true });
    await mkdir(parts.work, { recursive: true });
    // Left by a crash of ours between the two steps below.
    await unmountBelow(join(target, '..'));
    await this.images.snapshots.mount(top, parts.upper, parts.work, target);
    try {
      return await Rooted.open(target, volumes);
    } finally {
      await run('umount', ['--lazy', target]);
    }
  }

  /** Volumes and binds by their place in the container; what is in memory is gone with the last run. */
  private volumesOf(record: ContainerRecord, { mounts }: OciSpec): Map<string, string> {
    const binds = mounts.filter(
      ({ type, destination }) => type === 'bind' && !destination.startsWith('/dev/'),
    );
    return new Map(
      binds.flatMap(({ destination, source }): [string, string][] => {
        if (source === undefined) return [];
        // The mount that showed the volume with the container's owners ended with the container.
        const mount = mountsOf(record)[mappedVolumeAt(record.id, source) ?? -1];
        return [[destination, mount?.type === 'volume' ? join(this.volumes, mount.name, 'data') : source]];
      }),
    );
  }

  private async config(record: ContainerRecord): Promise<OciSpec> {
    const path = join(containerPaths(this.home, record.id).bundle, 'config.json');
    // Only this package writes the file.
    return JSON.parse(await readFile(path, 'utf8')) as OciSpec;
  }
}

/** Those by which the owners at a place are to be translated; undefined: they show the container's own numbers. */
function idsAt(logical: string, record: ContainerRecord, config: OciSpec): ContainerIds | undefined {
  const ids = ContainerIds.of(config);
  if (ids === undefined || isLive(record)) return ids;
  // On disk, root and volumes have the container's numbers; only what is the host's own is seen through the namespace.
  const source = mountAt(logical, config.mounts)?.source;
  return source === undefined || mappedVolumeAt(record.id, source) !== undefined ? undefined : ids;
}

/** The innermost bind that a place is in. */
function mountAt(logical: string, mounts: OciSpec['mounts']): OciSpec['mounts'][number] | undefined {
  const inside = mounts.filter(
    ({ type, destination }) =>
      type === 'bind' && (logical === destination || logical.startsWith(`${destination}/`)),
  );
  return inside.sort((one, other) => other.destination.length - one.destination.length)[0];
}

/** In a container that runs the kernel refuses; of one that is stopped we see its files from outside. */
async function requireWritable(
  record: ContainerRecord,
  rooted: Rooted,
  mounts: OciSpec['mounts'],
  path: string,
): Promise<void> {
  const { logical } = await rooted.find(path, { follow: true });
  const mount = mountAt(logical, mounts);
  const readOnly =
    mount === undefined ? record.spec.readOnlyRootfs === true : mount.options?.includes('ro') === true;
  if (!readOnly) return;
  throw new ContainerError(
    'INVALID_ARGUMENT',
    `cannot copy into ${path} of container "${record.name}": it is read-only`,
  );
}

async function statOf(found: Found, path: string, ids: ContainerIds | undefined): Promise<FileStat> {
  const { stat } = found;
  if (stat === undefined) {
    throw new ContainerError('PATH_NOT_FOUND', `there is no ${path} in the container`, { details: { path } });
  }
  const owner = ids?.inside(stat) ?? stat;
  const linkTarget = stat.isSymbolicLink() ? await readlink(found.path) : undefined;
  return {
    name: found.logical === '/' ? '/' : basename(found.logical),
    type: stat.isFile()
      ? 'file'
      : stat.isDirectory()
        ? 'directory'
        : stat.isSymbolicLink()
          ? 'symlink'
          : stat.isFIFO()
            ? 'fifo'
            : stat.isSocket()
              ? 'socket'
              : 'device',
    sizeBytes: stat.size,
    mode: stat.mode & 0o7777,
    uid: owner.uid,
    gid: owner.gid,
    modifiedAt: Math.round(stat.mtimeMs),
    ...(linkTarget === undefined ? {} : { linkTarget }),
  };
}

function gone(record: ContainerRecord): ContainerError {
  return new ContainerError(
    'ILLEGAL_TRANSITION',
    `cannot look into container "${record.name}": its main process ended just now`,
    {
      hint: 'try again: the files of a stopped container can be reached too',
      retryable: true,
      details: { from: 'running', to: 'stopped' },
    },
  );
}
