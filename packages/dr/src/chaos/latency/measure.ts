// Measuring a round trip as a client lives it: send a request on a new connection, wait for the first byte.

import { connect } from 'node:net';
import { type Clock, HeptadError } from '@heptad/core';

// Any server answers this or hangs up; both come back through the network under test.
const REQUEST = 'HEAD / HTTP/1.1\r\nHost: heptad-chaos\r\nConnection: close\r\n\r\n';

/** Milliseconds from sending a request to the first byte (or the close) that comes back. `MEASURE_FAILED` otherwise. */
export async function measureRoundTrip(
  to: { readonly address: string; readonly port: number },
  options: { readonly clock: Clock; readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<number> {
  const { clock, timeoutMs, signal } = options;
  const socket = connect({ host: to.address, port: to.port, noDelay: true });
  const failed = (why: string, cause?: unknown): HeptadError<'MEASURE_FAILED'> =>
    new HeptadError('MEASURE_FAILED', `cannot measure the round trip to ${to.address}:${to.port}: ${why}`, {
      cause,
    });
  try {
    return await new Promise<number>((resolve, reject) => {
      let sentMs = 0;
      const timer = clock.timer(timeoutMs, () => reject(failed(`no answer within ${timeoutMs} ms`)), {
        unref: true,
      });
      const answered = (): void => {
        timer.cancel();
        if (sentMs > 0) resolve(clock.monotonicMs() - sentMs);
      };
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
      socket.on('connect', () => {
        sentMs = clock.monotonicMs();
        socket.write(REQUEST);
      });
      socket.on('data', answered);
      socket.on('end', answered);
      socket.on('error', (cause) => {
        timer.cancel();
        reject(failed(cause.message, cause));
      });
    });
  } finally {
    socket.destroy();
  }
}

/**
 * What a round trip takes when nothing else is in its way: the lower quartile of the measurements; NaN of none. A busy machine only
 * ever adds to a measurement, and may add more than the delay that is looked for.
 */
export function unhindered(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 4)] ?? Number.NaN;
}
