// Streams of JSON objects: progress of a load or a pull, events. An error inside a stream that began with 200 is an error.

import type { Readable } from 'node:stream';
import { ContainerError } from '../errors.ts';
import { engineError } from './failure.ts';

// One object is a line of progress or an event with its labels.
const MAX_LINE_BYTES = 1024 * 1024;

/** The objects of a stream, one a line. Throws `INVALID_STREAM` for what is not JSON or has no end. */
export async function* jsonLines(stream: Readable, doing: string): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE_BYTES) {
      throw new ContainerError('INVALID_STREAM', `cannot ${doing}: a line of the answer has no end`);
    }
    for (const line of lines) if (line.trim() !== '') yield parseLine(line, doing);
  }
  if (rest.trim() !== '') yield parseLine(rest, doing);
}

function parseLine(line: string, doing: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new ContainerError('INVALID_STREAM', `cannot ${doing}: "${line.slice(0, 200)}" is not JSON`, {
      cause,
    });
  }
}

/** A step of a pull or load. */
export interface DockerProgress {
  /** The layer or image it is about. */
  readonly id?: string;
  /** What happens, in the engine's words. */
  readonly status: string;
  /** Bytes done. */
  readonly current?: number;
  /** Bytes in all, once known. */
  readonly total?: number;
}

/**
 * Reads a progress stream to its end. A failure that the engine reports inside the stream, long after its status 200,
 * is thrown with the code it would have had as a status.
 */
export async function followProgress(
  stream: Readable,
  doing: string,
  onProgress: (progress: DockerProgress) => void,
): Promise<void> {
  for await (const line of jsonLines(stream, doing)) {
    const message = fieldsOf(line);
    const detail = fieldsOf(message.errorDetail);
    const error = detail.message ?? message.error;
    if (error !== undefined) {
      stream.destroy();
      throw engineError(String(error), doing, typeof detail.code === 'number' ? detail.code : undefined);
    }
    const progress = fieldsOf(message.progressDetail);
    const status = message.status ?? message.stream;
    if (typeof status !== 'string') continue;
    onProgress({
      ...(typeof message.id === 'string' ? { id: message.id } : {}),
      status: status.trimEnd(),
      ...(typeof progress.current === 'number' ? { current: progress.current } : {}),
      ...(typeof progress.total === 'number' ? { total: progress.total } : {}),
    });
  }
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}
