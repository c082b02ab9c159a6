// The body of an OTLP/HTTP request: content type, compression and the size limit.

import { gunzipSync } from 'node:zlib';
import { errorMessage } from '@heptad/core';
import { MonitoringError } from '../errors.ts';

/** Largest request, before and after decompression. OTLP's usual limit; a producer sends smaller batches instead. */
export const MAX_BODY_BYTES: number = 4 * 1024 * 1024;

/** How a body is written. */
export type BodyFormat = 'json' | 'protobuf';

/** The format that a content type names. Throws `UNSUPPORTED_MEDIA_TYPE`. */
export function bodyFormat(contentType: string): BodyFormat {
  const type = contentType.split(';')[0]?.trim().toLowerCase();
  if (type === 'application/json') return 'json';
  if (type === 'application/x-protobuf') return 'protobuf';
  throw new MonitoringError('UNSUPPORTED_MEDIA_TYPE', `cannot read a body of type "${contentType}"`, {
    hint: 'send application/x-protobuf or application/json',
  });
}

/** Undoes the content encoding. Throws `PAYLOAD_TOO_LARGE`, `INVALID_PAYLOAD`, `UNSUPPORTED_MEDIA_TYPE`. */
export function decompress(body: Uint8Array, encoding: string | undefined): Uint8Array {
  if (body.length > MAX_BODY_BYTES) throw tooLarge();
  const name = encoding?.trim().toLowerCase() ?? '';
  if (name === '' || name === 'identity') return body;
  if (name !== 'gzip') {
    throw new MonitoringError(
      'UNSUPPORTED_MEDIA_TYPE',
      `cannot read a body with the content encoding "${encoding}"`,
      {
        hint: 'send it as gzip or uncompressed',
      },
    );
  }
  try {
    // The limit holds while inflating, or a few kilobytes could become gigabytes.
    return gunzipSync(body, { maxOutputLength: MAX_BODY_BYTES });
  } catch (error) {
    if (error instanceof RangeError) throw tooLarge();
    throw new MonitoringError('INVALID_PAYLOAD', `cannot decompress the body: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

function tooLarge(): MonitoringError {
  return new MonitoringError('PAYLOAD_TOO_LARGE', `the body is over ${MAX_BODY_BYTES} bytes`, {
    hint: 'send smaller batches',
  });
}
