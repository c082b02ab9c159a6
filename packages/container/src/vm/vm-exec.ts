// A program run in a machine beside its main one, as an ExecSession over a channel of the agent.

import type { Clock, ExecOptions, ExecSession, TerminalSize } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { AgentConnection } from './agent-connection.ts';
import { ByteQueue } from './byte-queue.ts';
import { type Field, FRAME } from './frames.ts';
import { type Launch, programFields } from './launch.ts';

// What may be under way in one direction: enough to keep the line busy, little enough to hold in memory per program.
const WINDOW_BYTES = 256 * 1024;
const CHUNK_BYTES = 32 * 1024;
const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };
/** Of a program whose machine ended before it. */
const KILLED = 137;

/** Starts the program. Throws `EXEC_FAILED` when the guest cannot. */
export async function vmExec(
  agent: AgentConnection,
  clock: Clock,
  launch: Launch,
  options: ExecOptions,
  id: string,
): Promise<ExecSession> {
  const channel = agent.channel();
  const session = new Session(agent, clock, channel, options);
  const fields = execFields(launch, options);
  const answer = await agent.request('exec', fields, { channel }).catch((cause: unknown) => {
    session.cancel();
    throw execError(options, cause);
  });
  void answer;
  return session.begin(id);
}

function execFields(launch: Launch, options: ExecOptions): Field[] {
  const added = Object.entries(options.environment ?? {}).map(([name, value]) => `${name}=${value}`);
  const overridden = new Set(Object.keys(options.environment ?? {}));
  const size = sizeOf(options);
  const terminal = size !== undefined && !overridden.has('TERM') ? ['TERM=xterm'] : [];
  const kept = launch.environment.filter((line) => !overridden.has(line.slice(0, line.indexOf('='))));
  const program = {
    ...launch,
    command: [...options.command],
    environment: [...kept, ...terminal, ...added],
    workingDirectory: options.workingDirectory ?? launch.workingDirectory,
    user: options.user ?? launch.user,
  };
  return [
    ...programFields(program),
    ...(size === undefined ? [] : [['tty', sizeText(size)] as const]),
    ...(options.detach === true ? [['detached', 1] as const] : []),
  ];
}

function sizeOf(options: ExecOptions): TerminalSize | undefined {
  if (options.tty === undefined || options.tty === false) return undefined;
  return options.tty === true ? DEFAULT_SIZE : options.tty;
}

/** As the agent reads it. */
export function sizeText(size: TerminalSize): string {
  return `${size.columns}x${size.rows}`;
}

function execError(options: ExecOptions, cause: unknown): unknown {
  if (!(cause instanceof ContainerError) || typeof cause.details?.why !== 'string') return cause;
  const { why } = cause.details;
  const notFound = /not found|No such file/.test(why);
  return new ContainerError('EXEC_FAILED', `cannot exec ${options.command[0]}: ${why}`, {
    cause,
    ...(notFound ? { hint: 'the command is not in the image' } : {}),
    details: { exitCode: notFound ? 127 : 126 },
  });
}

class Session {
  private readonly agent: AgentConnection;
  private readonly clock: Clock;
  private readonly channel: number;
  private readonly options: ExecOptions;
  private readonly ended = Promise.withResolvers<number>();
  private readonly queues: Record<'stdout' | 'stderr', ByteQueue>;
  private killedFor: unknown;
  private credit = WINDOW_BYTES;
  private onCredit: (() => void) | undefined;
  private over = false;

  constructor(agent: AgentConnection, clock: Clock, channel: number, options: ExecOptions) {
    this.agent = agent;
    this.clock = clock;
    this.channel = channel;
    this.options = options;
    const queue = (): ByteQueue => new ByteQueue((bytes) => this.grant(bytes));
    this.queues = { stdout: queue(), stderr: queue() };
    this.ended.promise.catch(() => undefined);
    agent.listen(channel, {
      onBytes: (stream, bytes) => {
        if (bytes.length > 0) this.queues[stream].push(bytes);
        else this.queues[stream].end();
      },
      onCredit: (bytes) => {
        this.credit += bytes;
        this.onCredit?.();
      },
      onExit: (code) => this.finish(code),
      onLost: () => this.finish(KILLED),
    });
  }

  begin(id: string): ExecSession {
    const { options } = this;
    if (options.detach !== true) this.grant(WINDOW_BYTES);
    const timer =
      options.timeoutMs === undefined
        ? undefined
        : this.clock.timer(options.timeoutMs, () => this.kill(timeoutError(options)), { unref: true });
    const onAbort = (): void => this.kill(options.signal?.reason);
    options.signal?.addEventListener('abort', onAbort, { once: true });
    if (options.signal?.aborted === true) onAbort();
    const exit = this.ended.promise.finally(() => {
      timer?.cancel();
      options.signal?.removeEventListener('abort', onAbort);
    });
    exit.catch(() => undefined);
    if (options.detach === true) {
      for (const queue of Object.values(this.queues)) queue.end();
      this.agent.send(FRAME.stdin, this.channel, Buffer.alloc(0));
    } else this.feed().catch((error: unknown) => this.kill(error));
    return {
      id,
      stdout: this.queues.stdout,
      stderr: this.queues.stderr,
      exit,
      resize: (size) => this.resize(size),
    };
  }

  cancel(): void {
    this.over = true;
    this.agent.forget(this.channel);
  }

  private grant(bytes: number): void {
    if (this.over) return;
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(bytes);
    this.agent.send(FRAME.credit, this.channel, payload);
  }

  private finish(code: number): void {
    if (this.over) return;
    this.over = true;
    this.agent.forget(this.channel);
    for (const queue of Object.values(this.queues)) queue.end();
    this.onCredit?.();
    if (this.killedFor === undefined) this.ended.resolve(code);
    else this.ended.reject(this.killedFor);
  }

  private kill(reason: unknown): void {
    if (this.over) return;
    this.killedFor ??= reason;
    // Bytes that nobody reads must not hold up the end.
    this.grant(0x40000000);
    this.agent.request('kill-exec', [['channel', this.channel]]).catch(() => this.finish(KILLED));
  }

  private async feed(): Promise<void> {
    const { stdin } = this.options;
    const input = stdin instanceof Uint8Array ? [stdin] : (stdin ?? []);
    for await (const bytes of input) {
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
        const chunk = bytes.subarray(at, at + CHUNK_BYTES);
        while (this.credit < chunk.length && !this.over) await this.moreCredit();
        if (this.over) return;
        this.credit -= chunk.length;
        this.agent.send(FRAME.stdin, this.channel, chunk);
      }
    }
    this.agent.send(FRAME.stdin, this.channel, Buffer.alloc(0));
  }

  private moreCredit(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.onCredit = resolve;
    return promise;
  }

  private async resize(size: TerminalSize): Promise<void> {
    if (sizeOf(this.options) === undefined) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot resize the terminal of ${this.options.command[0] ?? ''}: it has none`,
        { hint: 'exec it with "tty"' },
      );
    }
    await this.agent.request('resize', [
      ['channel', this.channel],
      ['size', sizeText(size)],
    ]);
  }
}

function timeoutError(options: ExecOptions): ContainerError {
  return new ContainerError(
    'TIMEOUT',
    `exec of ${options.command[0] ?? ''} was killed: it ran longer than ${options.timeoutMs} ms`,
    { hint: 'give it a larger timeoutMs', details: { timeoutMs: options.timeoutMs } },
  );
}
