// Who has which port of the host: one file per port, seen by every engine of the machine, gone with a reboot.

import { createSocket } from 'node:dgram';
import { readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { ContainerError, errnoOf } from '../errors.ts';
import { ensureDirectory } from '../system/files.ts';
import type { RecordedPort } from './attachments.ts';
import { ANY_ADDRESS } from './firewall.ts';

/** Shared by all engines, so that two of them do not forward one port. */
const RESERVATIONS = '/run/heptad/ports';

/** Reserves ports for the owner of an attachment, whose record is at `recordPath`. */
export class PortReservations {
  private readonly root: string;
  private directory = '';

  constructor(root: string = RESERVATIONS) {
    this.root = root;
  }

  /**
   * Takes all of `ports`, or none. Throws `PORT_IN_USE` when a container or a program of the host has one,
   * `INVALID_ARGUMENT` when the host has no such address.
   */
  async take(ports: readonly RecordedPort[], recordPath: string): Promise<void> {
    if (ports.length === 0) return;
    await this.open();
    const taken: RecordedPort[] = [];
    try {
      for (const port of ports) {
        await this.takeOne(port, recordPath);
        taken.push(port);
        await requireFree(port);
      }
    } catch (error) {
      await this.free(taken, recordPath);
      throw error;
    }
  }

  /** Writes down what a container of ours has had all along; /run may have been emptied meanwhile. */
  async claim(port: RecordedPort, recordPath: string): Promise<void> {
    await this.open();
    await writeFile(this.path(port), recordPath, { flag: 'wx', mode: 0o644 }).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
  }

  /** Gives ports back; those of somebody else stay. */
  async free(ports: readonly RecordedPort[], recordPath: string): Promise<void> {
    if (ports.length === 0) return;
    await this.open();
    for (const port of ports) {
      const path = this.path(port);
      if ((await owner(path)) === recordPath) await rm(path, { force: true });
    }
  }

  /** Every network namespace has ports of its own, and the engines in it one directory. */
  private async open(): Promise<void> {
    const namespace = /\d+/.exec(await readlink('/proc/self/ns/net'))?.[0] ?? 'host';
    this.directory = join(this.root, namespace);
    await ensureDirectory(this.directory, 0o755);
  }

  private async takeOne(port: RecordedPort, recordPath: string): Promise<void> {
    const path = this.path(port);
    for (;;) {
      try {
        await writeFile(path, recordPath, { flag: 'wx', mode: 0o644 });
        break;
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
        const holder = await this.liveOwner(path);
        if (holder === recordPath) return;
        if (holder !== undefined) throw inUse(port, `a container has it (${containerOf(holder)})`);
      }
    }
    for (const rival of await this.rivals(port)) {
      const holder = await this.liveOwner(rival);
      if (holder === undefined || holder === recordPath) continue;
      await rm(path, { force: true });
      throw inUse(port, `a container has it on another address (${containerOf(holder)})`);
    }
  }

  /** Whoever holds it; a reservation whose attachment is gone was left by a crash, and is removed. */
  private async liveOwner(path: string): Promise<string | undefined> {
    const holder = await owner(path);
    if (holder === undefined) return undefined;
    // Empty: made this instant by somebody who has not yet written who he is.
    if (holder === '') return 'somebody';
    const lives = await readFile(holder).then(
      () => true,
      (error: unknown) => errnoOf(error) !== 'ENOENT',
    );
    if (lives) return holder;
    await rm(path, { force: true });
    return undefined;
  }

  /** Reservations of the same port on an address that overlaps: all with one, one with all. */
  private async rivals(port: RecordedPort): Promise<string[]> {
    const prefix = `${port.protocol}-${port.hostPort}@`;
    const names = (await readdir(this.directory)).filter((name) => name.startsWith(prefix));
    return names
      .filter((name) => name !== `${prefix}${port.hostAddress}`)
      .filter((name) => port.hostAddress === ANY_ADDRESS || name === `${prefix}${ANY_ADDRESS}`)
      .map((name) => join(this.directory, name));
  }

  private path(port: RecordedPort): string {
    return join(this.directory, `${port.protocol}-${port.hostPort}@${port.hostAddress}`);
  }
}

async function owner(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function containerOf(recordPath: string): string {
  return /([0-9a-f]{12})[0-9a-f]{52}\.json$/.exec(recordPath)?.[1] ?? recordPath;
}

function inUse(port: RecordedPort, why: string, cause?: unknown): ContainerError {
  const { hostAddress, hostPort, protocol } = port;
  return new ContainerError(
    'PORT_IN_USE',
    `cannot publish ${protocol} port ${hostAddress}:${hostPort}: ${why}`,
    {
      ...(cause === undefined ? {} : { cause }),
      hint: 'choose another host port, or stop what has it',
      details: { hostAddress, hostPort, protocol },
    },
  );
}

/** Finds out by listening for an instant whether a program of the host has the port. */
async function requireFree(port: RecordedPort): Promise<void> {
  try {
    await (port.protocol === 'tcp' ? listenTcp(port) : bindUdp(port));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EADDRINUSE') throw inUse(port, 'a program of this machine listens there', error);
    if (errno !== 'EADDRNOTAVAIL' && errno !== 'EINVAL') throw error;
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot publish a port on ${port.hostAddress}: it is no address of this machine`,
      {
        cause: error,
        hint: 'leave hostAddress out for this machine only, or give 0.0.0.0 for all its addresses',
      },
    );
  }
}

async function listenTcp({ hostAddress, hostPort }: RecordedPort): Promise<void> {
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.on('error', reject);
  server.listen({ host: hostAddress, port: hostPort, exclusive: true }, resolve);
  await promise;
  await new Promise((closed) => server.close(closed));
}

async function bindUdp({ hostAddress, hostPort }: RecordedPort): Promise<void> {
  const socket = createSocket('udp4');
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.on('error', reject);
  socket.bind({ address: hostAddress, port: hostPort, exclusive: true }, resolve);
  try {
    await promise;
  } finally {
    socket.close();
  }
}
