// Sorts the frames of a multiplexed stream into two streams.

import type { PassThrough, Readable } from 'node:stream';
import { ContainerError } from '../errors.ts';
import { FrameDecoder } from './multiplex.ts';

/** Resolves at the end of `input`. Each target holds up the flow while its reader is behind. Ends neither. */
export async function demultiplex(input: Readable, stdout: PassThrough, stderr: PassThrough): Promise<void> {
  const decoder = new FrameDecoder();
  for await (const chunk of input) {
    for (const { stream, payload } of decoder.push(chunk)) {
      const target = stream === 'stderr' || stream === 'system' ? stderr : stdout;
      if (!target.write(payload)) await drained(target);
    }
  }
  if (!decoder.complete) {
    throw new ContainerError('INVALID_STREAM', 'the stream of Docker ended within a frame');
  }
}

/** The raw output of a terminal, with the same hold on the flow. */
export async function copyRaw(input: Readable, stdout: PassThrough): Promise<void> {
  for await (const chunk of input) if (!stdout.write(chunk)) await drained(stdout);
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
