// Bytes in and out: gathering a body within the size limit, cutting a range from one.

import type { ObjectBody } from '@heptad/core';
import { StorageError } from '../errors.ts';
import { MAX_OBJECT_BYTES } from '../limits.ts';

/** The whole body in memory. `OBJECT_TOO_LARGE` beyond {@link MAX_OBJECT_BYTES}. */
export async function collectBody(body: ObjectBody, signal?: AbortSignal): Promise<Uint8Array> {
  if (typeof body === 'string') return checked(Buffer.from(body));
  if (body instanceof Uint8Array) return checked(body);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    signal?.throwIfAborted();
    bytes += chunk.length;
    if (bytes > MAX_OBJECT_BYTES) throw tooLarge(bytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}

/** Bytes `start` to `end`, both inclusive; an end beyond the object is its end. */
export function sliceRange(
  body: Uint8Array,
  range: { readonly start: number; readonly end?: number } | undefined,
): Uint8Array {
  if (range === undefined) return body;
  const { start, end = body.length - 1 } = range;
  const whole = Number.isInteger(start) && Number.isInteger(end);
  if (!whole || start < 0 || start >= body.length || end < start) {
    throw new StorageError(
      'INVALID_RANGE',
      `cannot read bytes ${start} to ${end} of an object of ${body.length}`,
      {
        hint: 'the first byte is 0 and the range must begin within the object',
        details: { sizeBytes: body.length },
      },
    );
  }
  return body.subarray(start, Math.min(end, body.length - 1) + 1);
}

function checked(bytes: Uint8Array): Uint8Array {
  if (bytes.length > MAX_OBJECT_BYTES) throw tooLarge(bytes.length);
  return bytes;
}

function tooLarge(bytes: number): StorageError {
  return new StorageError('OBJECT_TOO_LARGE', `cannot store an object of ${bytes} bytes or more`, {
    hint: `objects are at most ${MAX_OBJECT_BYTES} bytes; cut larger data into several`,
    details: { limitBytes: MAX_OBJECT_BYTES },
  });
}
