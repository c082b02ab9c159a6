// Unix sockets in a directory whose path may be longer than the 107 bytes that an address of a socket can hold.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';

/** Connects to the socket `name` in `directory`. Rejects with the system's error. */
export async function connectIn(directory: string, name: string): Promise<Socket> {
  // Through the descriptor of the directory the path is short, whatever the directory is called.
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await new Promise<Socket>((resolve, reject) => {
      const socket = connect(`/proc/self/fd/${handle.fd}/${name}`);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(socket);
      });
    });
  } finally {
    await handle.close();
  }
}
