// Tunnel: bytes both ways between two sockets, with back-pressure and half-close.

import type { Socket } from 'node:net';

/**
 * Joins two sockets until both are done. The end of one direction is passed on and the other direction goes on (half-
 * close); an error or a reset on one side ends both. `onEnd` is called once.
 */
export function tunnel(a: Socket, b: Socket, onEnd: (error: Error | undefined) => void): void {
  let open = 2;
  let failure: Error | undefined;
  const closed = (): void => {
    open -= 1;
    if (open === 0) onEnd(failure);
  };
  const fail = (error: Error): void => {
    failure ??= error;
    a.destroy();
    b.destroy();
  };
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on('data', (bytes: Buffer) => {
      if (!to.write(bytes)) from.pause();
    });
    to.on('drain', () => from.resume());
    if (from.readableEnded) to.end();
    else from.on('end', () => to.end());
    from.on('error', fail);
    from.on('close', () => {
      // Closed without an orderly end: the other side must not wait for bytes that will not come.
      if (!from.readableEnded) to.destroy();
      else if (!to.writableEnded) to.end();
      closed();
    });
    from.resume();
  }
}
