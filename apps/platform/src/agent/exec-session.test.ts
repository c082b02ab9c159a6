import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  type ContainerInfo,
  type ContainerRuntime,
  type ExecOptions,
  HeptadError,
  type TerminalSize,
} from '@heptad/core';
import { afterEach, beforeEach, expect, it } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { serveExec } from './exec-session.ts';

/** The sizes of terminals asked for. */
let sizes: TerminalSize[] = [];

/** The one thing exec needs of a runtime, with plain processes. */
const runtime = {
  async exec(_id: string, { command, stdin, signal, tty }: ExecOptions) {
    if (typeof tty === 'object') sizes.push(tty);
    const [program = '', ...args] = command;
    const child = spawn(program, args, signal === undefined ? {} : { signal });
    child.on('error', () => {});
    const feed = async (): Promise<void> => {
      for await (const chunk of stdin as AsyncIterable<Uint8Array>)
        if (!child.stdin.write(chunk)) await once(child.stdin, 'drain');
      child.stdin.end();
    };
    if (stdin === undefined) child.stdin.end();
    else void feed().catch(() => child.stdin.destroy());
    const exit = once(child, 'exit').then(([code]) => Number(code));
    const resize = async (size: TerminalSize): Promise<void> => {
      sizes.push(size);
    };
    return { stdout: child.stdout, stderr: child.stderr, exit, resize };
  },
} as unknown as ContainerRuntime;

let server: WebSocketServer;
let container: Promise<ContainerInfo>;
let served: Promise<void>[];

beforeEach(async () => {
  served = [];
  sizes = [];
  container = Promise.resolve({ id: 'c1' } as ContainerInfo);
  server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  server.on('connection', (socket) => served.push(serveExec(runtime, container, socket)));
  await once(server, 'listening');
});
afterEach(async () => {
  for (const client of server.clients) client.terminate();
  server.close();
});

interface Outcome {
  stdout: string;
  stderr: string;
  exit?: number;
  error?: { code: string; message: string };
}

async function exec(frames: readonly (string | object)[]): Promise<Outcome> {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const socket = new WebSocket(`ws://127.0.0.1:${address.port}`);
  const outcome: Outcome = { stdout: '', stderr: '' };
  socket.on('message', (data) => {
    const frame = JSON.parse(String(data));
    for (const key of ['stdout', 'stderr'] as const)
      if (frame[key] !== undefined) outcome[key] += Buffer.from(frame[key], 'base64').toString();
    if (frame.exit !== undefined) outcome.exit = frame.exit;
    if (frame.error !== undefined) outcome.error = frame.error;
  });
  await once(socket, 'open');
  for (const frame of frames) socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  await once(socket, 'close');
  return outcome;
}

const bytes = (text: string): { stdin: string } => ({ stdin: Buffer.from(text).toString('base64') });

it('runs the command and tells its output and exit code', async () => {
  const command = ['sh', '-c', 'echo out; echo err >&2; exit 3'];
  expect(await exec([{ command }])).toEqual({ stdout: 'out\n', stderr: 'err\n', exit: 3 });
});

it('passes standard input, although its frames come before the container is found', async () => {
  container = new Promise((resolve) => setTimeout(() => resolve({ id: 'c1' } as ContainerInfo), 100));
  const frames = [{ command: ['cat'], stdin: true }, bytes('one '), bytes('two'), { end: true }];
  expect(await exec(frames)).toEqual({ stdout: 'one two', stderr: '', exit: 0 });
});

it('asks for a terminal and passes its new sizes on, in the order of what is typed', async () => {
  const [first, second] = [
    { columns: 80, rows: 24 },
    { columns: 132, rows: 50 },
  ];
  const frames = [
    { command: ['cat'], tty: first },
    bytes('a'),
    { resize: second },
    bytes('b'),
    { end: true },
  ];
  expect(await exec(frames)).toEqual({ stdout: 'ab', stderr: '', exit: 0 });
  expect(sizes).toEqual([first, second]);
  const absurd = await exec([{ command: ['cat'], tty: { columns: 0, rows: 24 } }]);
  expect(absurd.error).toMatchObject({ code: 'INVALID_ARGUMENT' });
});

it('passes more than it holds, in order', async () => {
  const lines = Array.from({ length: 500 }, (_, index) => `${index} ${'x'.repeat(1_000)}\n`);
  const frames = [{ command: ['cat'], stdin: true }, ...lines.map(bytes), { end: true }];
  expect((await exec(frames)).stdout).toBe(lines.join(''));
});

it.each([
  ['no JSON at the start', ['nonsense'], 'is not JSON'],
  ['a start without a command', [{ command: [] }], 'is not { command'],
  ['nothing', ['null'], 'is not { command'],
])('refuses %s, and lives', async (_what, frames, message) => {
  const { error } = await exec(frames);
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) });
  expect((await exec([{ command: ['true'] }])).exit).toBe(0);
});

it('lives on after nonsense in standard input', async () => {
  const frames = [{ command: ['cat'], stdin: true }, bytes('a'), 'nonsense'];
  const outcome = await exec(frames);
  expect(outcome.exit ?? outcome.error?.code).toBeDefined();
  expect((await exec([{ command: ['true'] }])).exit).toBe(0);
});

it('tells why the container cannot be used', async () => {
  let refuse = (): void => {};
  container = new Promise((_, reject) => {
    refuse = () => reject(new HeptadError('CONTAINER_NOT_FOUND', 'container "c1" is not on this node'));
  });
  server.once('connection', () => refuse());
  expect((await exec([{ command: ['true'] }])).error).toMatchObject({ code: 'CONTAINER_NOT_FOUND' });
});

it('ends the program when the client leaves', async () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const socket = new WebSocket(`ws://127.0.0.1:${address.port}`);
  await once(socket, 'open');
  socket.send(JSON.stringify({ command: ['sh', '-c', 'echo started; exec sleep 600'] }));
  await once(socket, 'message');
  socket.terminate();
  // serveExec ends only when the program has ended.
  await Promise.all(served);
});
