// The answer to an OTLP request: empty when all was taken, partial_success when not.

import type { BodyFormat } from './body.ts';
import type { Signal } from './otlp.ts';

const REJECTED: Readonly<Record<Signal, string>> = {
  metrics: 'rejectedDataPoints',
  logs: 'rejectedLogRecords',
  traces: 'rejectedSpans',
};

/** Encodes the answer in the format of the request. */
export function partialSuccess(
  signal: Signal,
  format: BodyFormat,
  result: { readonly rejected: number; readonly message: string },
): string | Uint8Array {
  const complete = result.rejected === 0 && result.message === '';
  if (format === 'json') {
    if (complete) return '{}';
    return JSON.stringify({
      partialSuccess: { [REJECTED[signal]]: String(result.rejected), errorMessage: result.message },
    });
  }
  if (complete) return new Uint8Array();
  // ExportXPartialSuccess: rejected = 1 (int64), error_message = 2; itself field 1 of the response.
  const message = new TextEncoder().encode(result.message);
  const inner = Uint8Array.from([
    0x08,
    ...varint(result.rejected),
    0x12,
    ...varint(message.length),
    ...message,
  ]);
  return Uint8Array.from([0x0a, ...varint(inner.length), ...inner]);
}

function varint(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  while (rest > 127) {
    out.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
  return out;
}
