// Speaks QMP, the JSON protocol by which a running QEMU is asked and told; one connection for each group of commands.

import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Clock } from '@heptad/core';
import { z } from 'zod';
import { ContainerError, errnoOf } from '../errors.ts';
import { connectIn } from './sockets.ts';

/** Name of the socket in a machine's directory. */
export const QMP_SOCKET = 'qmp.sock';

// QEMU answers from its main loop, which a busy disk can hold up for a while.
const ANSWER_MS = 10_000;

const lineSchema = z.looseObject({
  QMP: z.unknown().optional(),
  return: z.unknown().optional(),
  error: z.object({ class: z.string(), desc: z.string() }).optional(),
  event: z.string().optional(),
});

/** A connection to one QEMU. */
export class QmpConnection implements AsyncDisposable {
  private readonly socket: Socket;
  private readonly lines: AsyncIterator<string>;
  private readonly clock: Clock;

  private constructor(socket: Socket, clock: Clock) {
    this.socket = socket;
    this.clock = clock;
    socket.on('error', () => undefined);
    this.lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  /** Connects to the QEMU of `directory`. Throws `RUNTIME_FAILED` when none answers. */
  static async open(directory: string, clock: Clock): Promise<QmpConnection> {
    const socket = await connectIn(directory, QMP_SOCKET).catch((cause: unknown) => {
      throw new ContainerError(
        'RUNTIME_FAILED',
        `cannot reach the virtual machine in ${directory}: ${errnoOf(cause) ?? String(cause)}`,
        { cause, retryable: true },
      );
    });
    const qmp = new QmpConnection(socket, clock);
    await qmp.answer('greeting');
    await qmp.call('qmp_capabilities');
    return qmp;
  }

  /** Runs a command; answers what it returns. Throws `RUNTIME_FAILED` with QEMU's words, `TIMEOUT`. */
  async call(command: string, parameters?: Readonly<Record<string, unknown>>): Promise<unknown> {
    this.socket.write(
      `${JSON.stringify({ execute: command, ...(parameters === undefined ? {} : { arguments: parameters }) })}\n`,
    );
    return await this.answer(command);
  }

  /** Closes the connection; the machine runs on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
  }

  private async answer(command: string): Promise<unknown> {
    const timer = this.clock.timer(ANSWER_MS, () => this.socket.destroy());
    try {
      for (;;) {
        const line = await this.lines.next();
        if (line.done === true) {
          throw new ContainerError(
            'RUNTIME_FAILED',
            `QEMU did not answer ${command}: it closed the connection`,
            {
              retryable: true,
            },
          );
        }
        const message = lineSchema.parse(JSON.parse(line.value));
        if (message.event !== undefined) continue;
        if (message.error === undefined) return message.QMP ?? message.return;
        throw new ContainerError('RUNTIME_FAILED', `QEMU refused ${command}: ${message.error.desc}`);
      }
    } finally {
      timer.cancel();
    }
  }
}

/** Runs one group of commands against the QEMU of `directory`. */
export async function withQmp<T>(
  directory: string,
  clock: Clock,
  work: (qmp: QmpConnection) => Promise<T>,
): Promise<T> {
  await using qmp = await QmpConnection.open(directory, clock);
  return await work(qmp);
}

const cpusSchema = z.array(z.looseObject({ 'thread-id': z.number() }));

/** The threads of the host that are the virtual CPUs. */
export async function virtualCpuThreads(directory: string, clock: Clock): Promise<number[]> {
  const cpus = cpusSchema.parse(await withQmp(directory, clock, (qmp) => qmp.call('query-cpus-fast')));
  return cpus.map((cpu) => cpu['thread-id']);
}
