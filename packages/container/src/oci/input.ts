// A container's standard input: a relay beside its shim keeps it open, and clients come and go.

import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { ContainerId } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import type { InputChannel } from '../lifecycle/attach.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { TOOL_PATH } from '../system/command.ts';
import type { ContainerPaths } from './paths.ts';
import { INPUT_RELAY, PERL } from './relays.ts';

const SOCKET = 'input.sock';
const DATA = 0;
const END = 1;
// Larger writes go in several frames, so that clients take turns.
const MAX_FRAME_BYTES = 32 * 1024;
// Control-D, which a terminal's line discipline takes for the end of input.
const END_OF_TRANSMISSION = Buffer.of(4);

/** Opens standard inputs. */
export class Inputs {
  private readonly starting = new Map<ContainerId, Promise<void>>();

  /** Joins a container's standard input, starting its relay when it has none yet. */
  async open(record: ContainerRecord, paths: ContainerPaths): Promise<InputChannel> {
    try {
      return channel(await this.connect(record, paths), record.spec.tty === true);
    } catch (cause) {
      throw new ContainerError(
        'RUNTIME_FAILED',
        `cannot open standard input of container "${record.name}": ${errorMessage(cause)}`,
        { cause },
      );
    }
  }

  private async connect(record: ContainerRecord, paths: ContainerPaths): Promise<Socket> {
    try {
      return await connectIn(paths.directory);
    } catch (error) {
      // Nobody listens: there was no relay yet, or it ended with an earlier run of the container.
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ECONNREFUSED') throw error;
    }
    // Two clients that come at once share one relay: conmon would close the input with either of two.
    let start = this.starting.get(record.id);
    if (start === undefined) {
      start = startRelay(paths).finally(() => this.starting.delete(record.id));
      this.starting.set(record.id, start);
    }
    await start;
    return await connectIn(paths.directory);
  }
}

/** The path of a socket has at most 107 bytes; by way of an open directory it always fits. */
async function connectIn(directory: string): Promise<Socket> {
  const folder = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const socket = connect({ path: `/proc/self/fd/${folder.fd}/${SOCKET}` });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once('connect', resolve);
    socket.once('error', reject);
    await promise;
    return socket;
  } finally {
    await folder.close();
  }
}

async function startRelay(paths: ContainerPaths): Promise<void> {
  // Its own session and no output: it outlives us, as the shim does, and ends with the shim.
  const child = spawn(PERL, ['-e', INPUT_RELAY, paths.bundle, paths.directory], {
    cwd: '/',
    env: { PATH: TOOL_PATH },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.unref();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  child.once('error', reject);
  child.stdout.once('data', () => resolve());
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.stderr.once('end', () => reject(new Error(said.trim() || 'the relay ended at once')));
  try {
    await promise;
  } finally {
    for (const stream of [child.stdout, child.stderr] as Readable[]) stream.destroy();
  }
}

function channel(socket: Socket, isTerminal: boolean): InputChannel {
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error;
  });
  socket.unref();
  const send = (kind: number, bytes: Uint8Array): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (failure !== undefined || socket.destroyed)
      reject(new ContainerError('RUNTIME_FAILED', 'standard input is closed: the container has ended'));
    else {
      const head = Buffer.alloc(5);
      head.writeUInt8(kind, 0);
      head.writeUInt32BE(bytes.length, 1);
      socket.write(Buffer.concat([head, bytes]), (error) => (error ? reject(error) : resolve()));
    }
    return promise;
  };
  const write = async (bytes: Uint8Array): Promise<void> => {
    for (let from = 0; from < bytes.length; from += MAX_FRAME_BYTES)
      await send(DATA, bytes.subarray(from, from + MAX_FRAME_BYTES));
  };
  return {
    write,
    end: () => (isTerminal ? write(END_OF_TRANSMISSION) : send(END, new Uint8Array())),
    close: () => {
      socket.end();
    },
  };
}
