// One exec over a WebSocket: the first frame says what to run, the others are its standard input; its output goes back.

import { Readable } from 'node:stream';
import {
  type ContainerInfo,
  type ContainerRuntime,
  type ExecSession,
  errorMessage,
  HeptadError,
  isHeptadError,
  type TerminalSize,
} from '@heptad/core';
import type WebSocket from 'ws';
import { z } from 'zod';

const terminalSize = z.object({
  columns: z.number().int().min(1).max(1000),
  rows: z.number().int().min(1).max(1000),
});
const execStart = z.object({
  command: z.array(z.string()).min(1),
  stdin: z.boolean().default(false),
  tty: terminalSize.optional(),
});
const execFrame = z.object({
  stdin: z.base64().optional(),
  end: z.boolean().optional(),
  resize: terminalSize.optional(),
});

/** Frames wait here while the program reads slowly; beyond, the socket is paused. */
const MAX_WAITING_FRAMES = 16;

/** The socket's frames as JSON, from now on: none is lost while we are busy. A frame that is no JSON is the last. */
function framesOf(socket: WebSocket): Readable {
  const frames = new Readable({
    objectMode: true,
    highWaterMark: MAX_WAITING_FRAMES,
    read: () => socket.resume(),
  });
  socket.on('message', (data) => {
    try {
      if (!frames.push(JSON.parse(String(data)) ?? {})) socket.pause();
    } catch {
      frames.destroy(new HeptadError('INVALID_ARGUMENT', 'a frame of exec is not JSON'));
    }
  });
  socket.on('close', () => frames.push(null));
  // Who reads them hears of the error; nobody does after the program has ended.
  frames.on('error', () => {});
  return frames;
}

function parseStart(frame: unknown): z.infer<typeof execStart> {
  if (frame === undefined) throw new HeptadError('INVALID_ARGUMENT', 'exec was closed before it began');
  const parsed = execStart.safeParse(frame);
  if (parsed.success) return parsed.data;
  throw new HeptadError(
    'INVALID_ARGUMENT',
    `the first frame of exec is not { command, stdin?, tty? }: ${z.prettifyError(parsed.error)}`,
    { hint: 'send { "command": ["ls", "/"] } first' },
  );
}

/** Standard input until the client says its end, or leaves. The new sizes of its window come between. */
async function* stdinOf(
  frames: AsyncIterator<unknown>,
  resize: (size: TerminalSize) => void,
): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { value, done } = await frames.next();
    if (done) return;
    const frame = execFrame.safeParse(value);
    if (!frame.success) continue;
    if (frame.data.stdin !== undefined) yield Buffer.from(frame.data.stdin, 'base64');
    if (frame.data.resize !== undefined) resize(frame.data.resize);
    if (frame.data.end) return;
  }
}

/** Resolves when the frame is on its way: a client that reads slowly slows the program down instead of filling memory. */
function send(socket: WebSocket, frame: unknown): Promise<void> {
  return new Promise((resolve) => socket.send(JSON.stringify(frame), () => resolve()));
}

async function run(
  runtime: ContainerRuntime,
  container: Promise<ContainerInfo>,
  frames: AsyncIterator<unknown>,
  socket: WebSocket,
  gone: AbortSignal,
): Promise<void> {
  const { id } = await container;
  const { value: first } = await frames.next();
  const start = parseStart(first);
  const started = Promise.withResolvers<ExecSession>();
  // A size that comes too late, when the program has ended, does no harm.
  const resize = (size: TerminalSize): void => {
    started.promise.then((session) => session.resize(size)).catch(() => {});
  };
  // A terminal's frames are read even when nothing is typed: its window changes too.
  const hasInput = start.stdin || start.tty !== undefined;
  const session = await runtime.exec(id, {
    command: start.command,
    signal: gone,
    ...(start.tty === undefined ? {} : { tty: start.tty }),
    ...(hasInput ? { stdin: stdinOf(frames, resize) } : {}),
  });
  started.resolve(session);
  // It may reject while the output is still being read; it is awaited below.
  session.exit.catch(() => {});
  const relay = async (stream: AsyncIterable<Uint8Array>, key: 'stdout' | 'stderr'): Promise<void> => {
    for await (const chunk of stream) await send(socket, { [key]: Buffer.from(chunk).toString('base64') });
  };
  await Promise.all([relay(session.stdout, 'stdout'), relay(session.stderr, 'stderr')]);
  await send(socket, { exit: await session.exit });
}

/** Serves one exec and closes the socket. Never rejects: what goes wrong is told to the client. */
export async function serveExec(
  runtime: ContainerRuntime,
  container: Promise<ContainerInfo>,
  socket: WebSocket,
): Promise<void> {
  const frames = framesOf(socket);
  const gone = new AbortController();
  socket.on('close', () => gone.abort());
  try {
    await run(runtime, container, frames[Symbol.asyncIterator](), socket, gone.signal);
  } catch (error) {
    const known = isHeptadError(error);
    const told = { code: known ? error.code : 'INTERNAL', message: errorMessage(error) };
    await send(socket, { error: known ? { ...told, hint: error.hint } : told });
  } finally {
    // A paused socket would not hear the other side close.
    frames.destroy();
    socket.resume();
    socket.close();
  }
}
