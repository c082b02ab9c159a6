// Listening safely: a Unix socket that nobody else can use for an instant, TCP only with certificates on both sides.

import { chmod, chown, mkdtemp, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { ContainerError, errnoOf } from '../errors.ts';

/** Who the server is, and who may come. PEM. */
export interface TlsIdentity {
  readonly cert: string | Uint8Array;
  readonly key: string | Uint8Array;
  /** Authorities whose client certificates are let in. */
  readonly ca: string | Uint8Array;
}

/** An address that is listened on. */
export interface BoundSocket {
  readonly address: string;
  close(): Promise<void>;
}

const OWNER_ONLY = 0o600;
const OWNER_AND_GROUP = 0o660;
// sun_path of sockaddr_un.
const MAX_PATH_BYTES = 107;

/** Listens on a Unix socket, made in a private directory and moved into its place with its final permissions. */
export async function bindUnixSocket(
  server: Server,
  path: string,
  group: string | undefined,
): Promise<BoundSocket> {
  const gid = group === undefined ? undefined : await groupId(group);
  await requireFree(path);
  const staging = await stagingBeside(path);
  const temporary = join(staging, 's');
  try {
    await listen(server, { path: temporary });
    if (gid !== undefined) await chown(temporary, process.getuid?.() ?? 0, gid);
    await chmod(temporary, gid === undefined ? OWNER_ONLY : OWNER_AND_GROUP);
    await rename(temporary, path);
  } catch (error) {
    server.close();
    throw failure(error, path);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  const { ino } = await stat(path);
  return {
    address: `unix://${path}`,
    close: async () => {
      await closeServer(server);
      // Another server may have taken the place meanwhile.
      const now = await stat(path).catch(() => undefined);
      if (now?.ino === ino) await unlink(path).catch(() => undefined);
    },
  };
}

/** Listens on TCP; the server must ask for client certificates. */
export async function bindTcp(server: Server, host: string, port: number): Promise<BoundSocket> {
  try {
    await listen(server, { host, port });
  } catch (error) {
    throw failure(error, `${host}:${port}`);
  }
  const address = server.address();
  const bound = typeof address === 'object' && address !== null ? address.port : port;
  return { address: `tcp://${host}:${bound}`, close: () => closeServer(server) };
}

function listen(server: Server, options: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function stagingBeside(path: string): Promise<string> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot listen on ${path}: the path is longer than ${MAX_PATH_BYTES} bytes`,
    );
  }
  try {
    // mkdtemp makes it for its owner only; beside the path, so that the move is one of names.
    return await mkdtemp(join(dirname(path), '.h'));
  } catch (error) {
    throw failure(error, path);
  }
}

/** Throws unless the path is free, or a socket that nobody listens on any more. */
async function requireFree(path: string): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) return;
  if (!info.isSocket()) {
    throw new ContainerError(
      'ALREADY_EXISTS',
      `cannot listen on ${path}: there is something else, and no socket`,
    );
  }
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (alive) {
    throw new ContainerError('HOME_IN_USE', `cannot listen on ${path}: another server does already`, {
      hint: 'stop it, or choose another path; for Docker itself: systemctl stop docker.socket docker',
    });
  }
}

/** The number of a group of this machine. */
async function groupId(group: string): Promise<number> {
  if (/^\d+$/.test(group)) return Number(group);
  const line = (await readFile('/etc/group', 'utf8'))
    .split('\n')
    .find((each) => each.startsWith(`${group}:`));
  const id = Number(line?.split(':')[2]);
  if (line !== undefined && Number.isInteger(id)) return id;
  throw new ContainerError('INVALID_ARGUMENT', `there is no group "${group}" on this machine`, {
    hint: `make it: groupadd --system ${group}`,
  });
}

function failure(error: unknown, where: string): unknown {
  const errno = errnoOf(error);
  if (errno === 'EACCES' || errno === 'EPERM') {
    return new ContainerError('ACCESS_DENIED', `cannot listen on ${where}: this user may not`, {
      cause: error,
    });
  }
  if (errno === 'ENOENT') {
    return new ContainerError('PATH_NOT_FOUND', `cannot listen on ${where}: its directory does not exist`, {
      cause: error,
    });
  }
  if (errno === 'EADDRINUSE') {
    return new ContainerError('HOME_IN_USE', `cannot listen on ${where}: another server does already`, {
      cause: error,
    });
  }
  return error;
}
