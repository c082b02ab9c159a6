// Sorts the frames of a multiplexed stream into two streams.

import type { PassThrough, Readable } from 'node:stream';
import { ContainerError } from '../errors.ts';
import { FrameDecoder } from './multiplex.ts';

/**
 * Resolves at the end of `input`. Each target holds up the flow while its reader is behind; with `maxUnread` it keeps as many
 * bytes instead, and throws `LIMIT_EXCEEDED` beyond. Ends neither target.
 */
export async function demultiplex(
  input: Readable,
  stdout: PassThrough,
  stderr: PassThrough,
  maxUnread?: number,
): Promise<void> {
  const decoder = new FrameDecoder();
  for await (const chunk of input) {
    for (const { stream, payload } of decoder.push(chunk)) {
      const target = stream === 'stderr' || stream === 'system' ? stderr : stdout;
      if (!target.write(payload)) await held(target, maxUnread);
    }
  }
  if (!decoder.complete) {
    throw new ContainerError('INVALID_STREAM', 'the stream of Docker ended within a frame');
  }
}

/** The raw output of a terminal, held up or kept in the same way. */
export async function copyRaw(input: Readable, stdout: PassThrough, maxUnread?: number): Promise<void> {
  for await (const chunk of input) if (!stdout.write(chunk)) await held(stdout, maxUnread);
}

async function held(target: PassThrough, maxUnread: number | undefined): Promise<void> {
  if (maxUnread === undefined) return await drained(target);
  if (target.readableLength + target.writableLength <= maxUnread) return;
  throw new ContainerError('LIMIT_EXCEEDED', `a client left more than ${maxUnread} bytes of output unread`);
}

function drained(target: PassThrough): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      target.off('drain', done);
      target.off('close', done);
      resolve();
    };
    target.once('drain', done);
    target.once('close', done);
  });
}
