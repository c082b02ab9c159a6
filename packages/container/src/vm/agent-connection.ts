// The host's end of the line to a guest agent: requests with answers, and channels of bytes with bounded windows.

import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Clock } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import {
  decodeMessage,
  encodeFrame,
  encodeMessage,
  type Field,
  FRAME,
  FrameReader,
  type Message,
} from './frames.ts';
import { connectIn } from './sockets.ts';

/** Name of the socket in a machine's directory. */
export const AGENT_SOCKET = 'agent.sock';

// The agent answers at once, but under software emulation a fork of it takes tens of milliseconds.
const ANSWER_MS = 30_000;
const CONNECT_EVERY_MS = 5;
// An agent that lost its step reads zeros until whatever it thought to be in is over.
const FILL_AFTER_MS = 2_000;
const FILL_BYTES = 4 * 1024 * 1024 + 9;
const NONCE_BYTES = 16;

/** Who receives what comes for one channel. */
export interface ChannelListener {
  onBytes(stream: 'stdout' | 'stderr', bytes: Buffer): void;
  onCredit(bytes: number): void;
  onExit(code: number): void;
  /** The machine or the connection is gone. */
  onLost(): void;
}

/** How to reach an agent. */
export interface AgentConnectionOptions {
  readonly directory: string;
  readonly clock: Clock;
  /** How long the agent may take to answer the first word; booting is in it. */
  readonly helloMs: number;
  /** The agent has not been spoken to before. */
  readonly isBooting: boolean;
  /** Whether there is still a machine that could answer. */
  readonly isAlive: () => boolean;
  readonly onClose: () => void;
}

/** A connection to one agent. */
export class AgentConnection {
  /** Seconds since the guest's kernel started, when it said hello. */
  uptimeSeconds = 0;
  private readonly socket: Socket;
  private readonly clock: Clock;
  private readonly frames = new FrameReader();
  private readonly requests = new Map<
    number,
    { resolve: (message: Message) => void; reject: (error: Error) => void }
  >();
  private readonly channels = new Map<number, ChannelListener>();
  private nonce: Buffer = Buffer.alloc(0);
  private unsynced: Buffer | undefined = Buffer.alloc(0);
  private readonly hello = Promise.withResolvers<void>();
  private closed = false;
  // Channels of detached programs outlive a connection, so that numbers must not begin anew with each.
  private nextChannel = randomBytes(4).readUInt32BE() >>> 1;

  private constructor(socket: Socket, options: AgentConnectionOptions) {
    this.socket = socket;
    this.clock = options.clock;
    this.hello.promise.catch(() => undefined);
    socket.on('data', (bytes: Buffer) => this.receive(bytes));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.lose();
      options.onClose();
    });
  }

  /** Connects and waits for the agent's hello. Throws `RUNTIME_FAILED` when the machine ends first, `TIMEOUT`. */
  static async open(options: AgentConnectionOptions): Promise<AgentConnection> {
    const { clock } = options;
    const deadline = clock.monotonicMs() + options.helloMs;
    let socket: Socket | undefined;
    while (socket === undefined) {
      socket = await connectIn(options.directory, AGENT_SOCKET).catch(() => undefined);
      if (socket !== undefined) break;
      requireTime(options, deadline);
      await clock.sleep(CONNECT_EVERY_MS);
    }
    const agent = new AgentConnection(socket, options);
    await agent.synchronise(options, deadline);
    agent.release();
    return agent;
  }

  /** Whether it can still be used. */
  get isOpen(): boolean {
    return !this.closed;
  }

  /** A number for a new channel. */
  channel(): number {
    this.nextChannel = (this.nextChannel % 0x7fffffff) + 1;
    return this.nextChannel;
  }

  /** Hears of a channel from now on, until its exit. */
  listen(channel: number, listener: ChannelListener): void {
    this.channels.set(channel, listener);
    this.socket.ref();
  }

  /** Hears no more of it. */
  forget(channel: number): void {
    this.channels.delete(channel);
    this.release();
  }

  /** Sends bytes or credit for a channel. */
  send(type: number, channel: number, payload: Uint8Array): void {
    if (!this.closed) this.socket.write(encodeFrame(type, channel, payload));
  }

  /** Asks and waits for the answer. Throws `RUNTIME_FAILED` with the agent's words, or when it does not answer. */
  async request(
    verb: string,
    fields: readonly Field[] = [],
    options: { channel?: number; timeoutMs?: number } = {},
  ): Promise<Message> {
    if (this.closed) throw lost(verb);
    const channel = options.channel ?? this.channel();
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    this.requests.set(channel, { resolve, reject });
    this.socket.ref();
    const timeoutMs = options.timeoutMs ?? ANSWER_MS;
    const timer = this.clock.timer(timeoutMs, () =>
      reject(
        new ContainerError('TIMEOUT', `the guest agent did not answer "${verb}" within ${timeoutMs} ms`, {
          hint: 'the machine is very busy, paused, or its kernel hangs; its console.log may say more',
          retryable: true,
        }),
      ),
    );
    this.socket.write(encodeFrame(FRAME.request, channel, encodeMessage(verb, fields)));
    try {
      const answer = await promise;
      // An answer is `ok` and what was asked for, or the name "error" and why not.
      if (answer.word === '' && answer.text('error') !== undefined) throw refused(verb, answer.text('error'));
      return answer;
    } finally {
      timer.cancel();
      this.requests.delete(channel);
      this.release();
    }
  }

  /** Asks without waiting for the answer: a guest that stands still gives it when it goes on. */
  tell(verb: string, fields: readonly Field[] = []): void {
    this.send(FRAME.request, this.channel(), encodeMessage(verb, fields));
  }

  /** Ends the standard input of the main program. */
  endMainInput(): void {
    this.send(FRAME.stdin, 0, Buffer.alloc(0));
  }

  /** Hangs up. What was started through it, and not for good, ends. */
  close(): void {
    this.socket.destroy();
    this.lose();
  }

  private async synchronise(options: AgentConnectionOptions, deadline: number): Promise<void> {
    this.nonce = randomBytes(NONCE_BYTES);
    const reset = encodeFrame(FRAME.reset, 0, this.nonce);
    this.socket.write(reset);
    const { clock } = this;
    let filled = false;
    const poll = clock.interval(20, () => {
      if (!options.isAlive() || clock.monotonicMs() > deadline) {
        try {
          requireTime(options, deadline);
        } catch (error) {
          this.hello.reject(error);
        }
        return;
      }
      // A machine that is still booting has nothing to be filled up: its agent has read nothing yet.
      if (options.isBooting || filled || clock.monotonicMs() < deadline - options.helloMs + FILL_AFTER_MS)
        return;
      filled = true;
      this.socket.write(Buffer.concat([Buffer.alloc(FILL_BYTES), reset]));
    });
    try {
      await this.hello.promise;
    } catch (error) {
      this.close();
      throw error;
    } finally {
      poll.cancel();
    }
  }

  private receive(bytes: Buffer): void {
    try {
      for (const frame of this.frames.push(this.afterHello(bytes)))
        this.dispatch(frame.type, frame.channel, frame.payload);
    } catch {
      // Not a stream of frames: nothing that follows could be trusted.
      this.close();
    }
  }

  /** Drops what an earlier connection left in the line: the stream begins with the hello that carries our nonce. */
  private afterHello(bytes: Buffer): Buffer {
    if (this.unsynced === undefined) return bytes;
    const seen = Buffer.concat([this.unsynced, bytes]);
    const at = seen.indexOf(Buffer.concat([encodedString('nonce'), encodedString(this.nonce)]));
    const start = at - FRAME_HEADER_BYTES;
    if (at < 0 || start < 0) {
      this.unsynced = seen;
      return Buffer.alloc(0);
    }
    this.unsynced = undefined;
    return seen.subarray(start);
  }

  private dispatch(type: number, channel: number, payload: Buffer): void {
    if (type === FRAME.hello) {
      this.uptimeSeconds = decodeMessage(payload).number('uptime');
      this.hello.resolve();
    } else if (type === FRAME.reply) {
      this.requests.get(channel)?.resolve(decodeMessage(payload));
    } else if (type === FRAME.stdout || type === FRAME.stderr) {
      this.channels.get(channel)?.onBytes(type === FRAME.stdout ? 'stdout' : 'stderr', payload);
    } else if (type === FRAME.credit) {
      this.channels.get(channel)?.onCredit(payload.readUInt32BE());
    } else if (type === FRAME.exit) {
      this.channels.get(channel)?.onExit(decodeMessage(payload).number('code'));
    }
  }

  private lose(): void {
    if (this.closed) return;
    this.closed = true;
    this.hello.reject(lost('hello'));
    for (const { reject } of this.requests.values()) reject(lost('the request'));
    for (const listener of [...this.channels.values()]) listener.onLost();
    this.channels.clear();
  }

  /** An idle connection does not keep the process alive. */
  private release(): void {
    if (this.requests.size === 0 && this.channels.size === 0) this.socket.unref();
  }
}

const FRAME_HEADER_BYTES = 9;

function encodedString(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function refused(verb: string, why: string | undefined): ContainerError {
  return new ContainerError('RUNTIME_FAILED', `the virtual machine refused "${verb}": ${why}`, {
    details: { why },
  });
}

function lost(verb: string): ContainerError {
  return new ContainerError('RUNTIME_FAILED', `the virtual machine ended before it answered "${verb}"`, {
    retryable: true,
  });
}

function requireTime(options: AgentConnectionOptions, deadline: number): void {
  if (!options.isAlive()) throw lost('hello');
  if (options.clock.monotonicMs() <= deadline) return;
  throw new ContainerError(
    'TIMEOUT',
    `the virtual machine in ${options.directory} did not say hello within ${options.helloMs} ms`,
    { hint: 'its console.log tells how far it came', retryable: true },
  );
}
