// Files of a Docker container: looking at them, copying them out and in, what was changed, the whole as an archive or image.

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ArchiveStream, CommitOptions, CopyInOptions, FileChange, FileStat } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import tar, { type Header } from 'tar-stream';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { parseReference } from '../image/reference.ts';
import type { DockerConnection } from './connection.ts';
import { nameOf } from './container-info.ts';
import { type DockerContainer, parseId } from './schema.ts';

// The engine resolves links itself; this bounds a chain that changes while we follow it.
const MAX_LINKS = 40;

const pathStatSchema = z.object({ linkTarget: z.string().nullish() });

/** See {@link ContainerRuntime.statPath}. */
export async function statPath(
  connection: DockerConnection,
  container: DockerContainer,
  path: string,
): Promise<FileStat> {
  return (await openArchive(connection, container, path, {}, 'look into')).stat;
}

/** See {@link ContainerRuntime.copyOut}. */
export async function copyOut(
  connection: DockerConnection,
  container: DockerContainer,
  path: string,
  options: { signal?: AbortSignal },
): Promise<ArchiveStream> {
  let target = path;
  for (let link = 0; link < MAX_LINKS; link += 1) {
    const archive = await openArchive(connection, container, target, options, 'copy out of');
    // A link is itself, unless the path says with a slash at its end that it is to be followed.
    if (archive.stat.type !== 'symlink' || !/\/\.?$/.test(path)) {
      // Named as it was asked for, not as where the link led.
      return { stat: archive.stat, content: renamed(archive.content(), archive.stat.name, baseName(path)) };
    }
    target = archive.linkTarget;
  }
  throw new ContainerError('PATH_NOT_FOUND', `cannot copy ${path}: too many symbolic links`);
}

interface OpenArchive {
  readonly stat: FileStat;
  /** Where a link leads, resolved by the engine inside the container. */
  readonly linkTarget: string;
  readonly content: () => AsyncIterable<Uint8Array>;
}

async function openArchive(
  connection: DockerConnection,
  container: DockerContainer,
  path: string,
  options: { signal?: AbortSignal },
  verb: string,
): Promise<OpenArchive> {
  const doing = `${verb} container "${nameOf(container)}" at ${path}`;
  const request = {
    method: 'GET',
    path: `/containers/${container.Id}/archive`,
    query: { path },
    doing,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  } as const;
  const response = await connection.stream(request);
  const told = String(response.headers['x-docker-container-path-stat'] ?? '');
  const parsed = pathStatSchema.safeParse(JSON.parse(Buffer.from(told, 'base64').toString('utf8') || '{}'));
  // The header of the first entry has what the engine's own description leaves out: the owner.
  const header = await firstHeader(response, doing);
  const stat = statOf(header, path);
  return {
    stat,
    linkTarget: (parsed.success ? parsed.data.linkTarget : undefined) ?? stat.linkTarget ?? '',
    content: () => bytesOf(connection, request),
  };
}

async function firstHeader(response: Readable, doing: string): Promise<Header> {
  const extract = tar.extract();
  const flow = pipeline(response, extract).catch(() => undefined);
  try {
    for await (const entry of extract) return entry.header;
  } finally {
    response.destroy();
    extract.destroy();
    await flow;
  }
  throw new ContainerError('INVALID_STREAM', `cannot ${doing}: Docker sent an empty archive`);
}

async function* bytesOf(
  connection: DockerConnection,
  request: Parameters<DockerConnection['stream']>[0],
): AsyncGenerator<Uint8Array> {
  for await (const chunk of await connection.stream(request)) yield chunk;
}

const TYPES: Readonly<Record<string, FileStat['type']>> = {
  file: 'file',
  'contiguous-file': 'file',
  link: 'file',
  directory: 'directory',
  symlink: 'symlink',
  'character-device': 'device',
  'block-device': 'device',
  fifo: 'fifo',
};

function statOf(header: Header, path: string): FileStat {
  const type = TYPES[header.type ?? 'file'] ?? 'file';
  return {
    name: baseName(path),
    type,
    sizeBytes: header.size ?? 0,
    mode: (header.mode ?? 0) & 0o7777,
    uid: header.uid ?? 0,
    gid: header.gid ?? 0,
    modifiedAt: header.mtime?.getTime() ?? 0,
    ...(type === 'symlink' && header.linkname ? { linkTarget: header.linkname } : {}),
  };
}

function baseName(path: string): string {
  return (
    path
      .split('/')
      .filter((part) => part !== '' && part !== '.')
      .at(-1) ?? '/'
  );
}

/** The archive with its top entry under another name. */
async function* renamed(
  content: AsyncIterable<Uint8Array>,
  from: string,
  to: string,
): AsyncGenerator<Uint8Array> {
  if (from === to) {
    yield* content;
    return;
  }
  yield* rewritten(content, (header) => {
    const rename = (name: string): string =>
      name === from || name.startsWith(`${from}/`) ? to + name.slice(from.length) : name;
    const linkname = header.type === 'link' && header.linkname ? { linkname: rename(header.linkname) } : {};
    return { ...header, name: rename(header.name), ...linkname };
  });
}

/** A tar stream with each entry's header changed; `change` may throw to refuse an entry. */
async function* rewritten(
  content: AsyncIterable<Uint8Array>,
  change: (header: Header) => Header,
): AsyncGenerator<Uint8Array> {
  const extract = tar.extract();
  const pack = tar.pack();
  const input = pipeline(Readable.from(content), extract);
  const work = (async (): Promise<void> => {
    for await (const entry of extract) {
      const header = change(entry.header);
      await new Promise<void>((resolve, reject) => {
        const target = pack.entry(header, (error) => (error ? reject(error) : resolve()));
        entry.on('error', reject);
        // tar-stream's own streams, not Node's; both know pipe.
        entry.pipe(target);
      });
    }
    await input;
    pack.finalize();
  })();
  work.catch((error: unknown) => pack.destroy(error instanceof Error ? error : new Error(String(error))));
  input.catch(() => undefined);
  try {
    for await (const chunk of pack) if (chunk instanceof Uint8Array) yield chunk;
    await work;
  } finally {
    extract.destroy();
  }
}

/** See {@link ContainerRuntime.copyIn}. */
export async function copyIn(
  connection: DockerConnection,
  container: DockerContainer,
  path: string,
  content: AsyncIterable<Uint8Array>,
  options: CopyInOptions,
): Promise<void> {
  const doing = `copy into container "${nameOf(container)}" at ${path}`;
  let refused: ContainerError | undefined;
  const owners = new Map<string, Pick<Header, 'gid' | 'mode' | 'mtime' | 'uid'>>();
  // The engine, which is root of the machine, would make the device.
  const body = rewritten(content, (header) => {
    if (header.type === 'character-device' || header.type === 'block-device') {
      refused = new ContainerError('UNSAFE_ARCHIVE', `cannot ${doing}: ${header.name} is a device node`, {
        details: { entry: header.name },
      });
      throw refused;
    }
    const name = header.name.replace(/^\.?\/+/, '');
    if (header.type !== 'link') {
      owners.set(name, { uid: header.uid, gid: header.gid, mode: header.mode, mtime: header.mtime });
      return header;
    }
    // The engine gives the file that a hard link leads to the owner and mode of the link's own entry, which mean nothing.
    return { ...header, ...owners.get((header.linkname ?? '').replace(/^\.?\/+/, '')) };
  });
  try {
    const response = await connection.stream({
      method: 'PUT',
      path: `/containers/${container.Id}/archive`,
      query: {
        path,
        noOverwriteDirNonDir: true,
        copyUIDGID: options.keepOwners === false ? true : undefined,
      },
      headers: { 'Content-Type': 'application/x-tar' },
      body,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      doing,
    });
    response.resume();
  } catch (error) {
    if (refused !== undefined) throw refused;
    // In the engine's words a missing directory is a container without that path.
    if (isHeptadError(error, 'CONTAINER_NOT_FOUND')) {
      throw new ContainerError('PATH_NOT_FOUND', `cannot ${doing}: there is no such directory`, {
        cause: error,
      });
    }
    throw error;
  }
}

const changesSchema = z.array(z.object({ Path: z.string(), Kind: z.number() })).nullish();
const KINDS: readonly FileChange['kind'][] = ['changed', 'added', 'deleted'];

/** See {@link ContainerRuntime.diff}. */
export async function diff(connection: DockerConnection, container: DockerContainer): Promise<FileChange[]> {
  const doing = `list the changes of container "${nameOf(container)}"`;
  const answer = await connection.json({ method: 'GET', path: `/containers/${container.Id}/changes`, doing });
  const changes = changesSchema.parse(answer) ?? [];
  return changes
    .map(({ Path, Kind }) => ({ path: Path, kind: KINDS[Kind] ?? 'changed' }))
    .sort((one, other) => (one.path < other.path ? -1 : 1));
}

/** See {@link ContainerRuntime.exportRootfs}. */
export async function* exportRootfs(
  connection: DockerConnection,
  container: DockerContainer,
  options: { signal?: AbortSignal },
): AsyncGenerator<Uint8Array> {
  yield* bytesOf(connection, {
    method: 'GET',
    path: `/containers/${container.Id}/export`,
    doing: `export container "${nameOf(container)}"`,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}

/** See {@link ContainerRuntime.commit}. An engine without a content store has no manifests: the digest is the image's id. */
export async function commit(
  connection: DockerConnection,
  container: DockerContainer,
  options: CommitOptions,
): Promise<{ digest: string }> {
  const { reference, changes } = options;
  const name = reference === undefined ? undefined : parseReference(reference);
  const answer = await connection.json({
    method: 'POST',
    path: '/commit',
    query: {
      container: container.Id,
      repo: name?.repository,
      tag: name?.tag,
      author: options.author,
      comment: options.message,
      pause: options.pause ?? true,
    },
    json: {
      ...(changes?.entrypoint === undefined ? {} : { Entrypoint: changes.entrypoint }),
      ...(changes?.command === undefined ? {} : { Cmd: changes.command }),
      ...(changes?.environment === undefined
        ? {}
        : { Env: Object.entries(changes.environment).map(([key, value]) => `${key}=${value}`) }),
      ...(changes?.workingDirectory === undefined ? {} : { WorkingDir: changes.workingDirectory }),
      ...(changes?.user === undefined ? {} : { User: changes.user }),
      ...(changes?.labels === undefined ? {} : { Labels: changes.labels }),
      ...(changes?.stopSignal === undefined ? {} : { StopSignal: changes.stopSignal }),
    },
    doing: `make an image of container "${nameOf(container)}"`,
  });
  return { digest: parseId(answer) };
}
