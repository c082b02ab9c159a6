// One exec over the API: its output to ours, our input to it, and our terminal as its terminal.

import { HeptadError, type TerminalSize } from '@heptad/core';
import WebSocket from 'ws';
import type { ApiClient } from '../client/api-client.ts';
import { withTerminal } from './terminal.ts';

/** A frame from the agent: see `agent/exec-session.ts`. */
interface ExecFrame {
  readonly stdout?: string;
  readonly stderr?: string;
  readonly exit?: number;
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
}

/** Runs a program in a container and answers its exit code. `tty` makes our terminal raw until it ends. */
export async function runExec(
  client: ApiClient,
  container: string,
  words: readonly string[],
  options: { readonly interactive?: boolean; readonly tty?: boolean },
): Promise<number> {
  if (options.tty !== true) return await converse(client, container, words, options.interactive === true);
  return await withTerminal(
    options.interactive === true,
    async (terminal) => await converse(client, container, words, options.interactive === true, terminal),
  );
}

async function converse(
  client: ApiClient,
  container: string,
  words: readonly string[],
  interactive: boolean,
  terminal?: { readonly size: TerminalSize; onResize(listener: (size: TerminalSize) => void): void },
): Promise<number> {
  const url = `${client.server.replace(/^http/, 'ws')}/api/v1/containers/${encodeURIComponent(container)}/exec`;
  const socket = new WebSocket(url, { headers: client.authorization() });
  const send = (frame: object): void => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
  };
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  socket.on('open', () => {
    send({ command: words, stdin: interactive, ...(terminal === undefined ? {} : { tty: terminal.size }) });
    terminal?.onResize((resize) => send({ resize }));
    if (!interactive) return;
    process.stdin.on('data', (chunk) => send({ stdin: Buffer.from(chunk).toString('base64') }));
    process.stdin.on('end', () => send({ end: true }));
  });
  socket.on('message', (data) => {
    const frame = JSON.parse(String(data)) as ExecFrame;
    if (frame.stdout !== undefined) process.stdout.write(Buffer.from(frame.stdout, 'base64'));
    if (frame.stderr !== undefined) process.stderr.write(Buffer.from(frame.stderr, 'base64'));
    if (frame.exit !== undefined) resolve(frame.exit);
    if (frame.error !== undefined) {
      const { code, message, hint } = frame.error;
      reject(new HeptadError(code, message, hint === undefined ? {} : { hint }));
    }
  });
  socket.on('unexpected-response', (_request, response) =>
    reject(new HeptadError('FORBIDDEN', `exec was refused with status ${response.statusCode}`)),
  );
  socket.on('error', reject);
  socket.on('close', () => {
    process.stdin.pause();
    reject(
      new HeptadError('UNAVAILABLE', 'the connection to the container was lost before the program ended', {
        hint: 'heptad ps says whether it still runs',
      }),
    );
  });
  try {
    return await promise;
  } finally {
    socket.close();
  }
}
