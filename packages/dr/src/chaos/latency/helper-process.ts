// The injector's end of the helper process: start it in a namespace, talk to it, know when it is gone.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Clock, errorMessage, HeptadError } from '@heptad/core';
import { insideNamespace, type NamespaceRef, systemPath } from './nft.ts';
import { type HelperSaid, type HelperTask, type HelperWord, helperSaid } from './protocol.ts';

/** Starting a process, measuring a baseline and installing rules takes well under this, also on a busy machine. */
const INSTALL_TIMEOUT_MS = 30_000;
/** Removal is one nft run; a helper that takes longer is killed and the rules are removed from outside. */
const REMOVE_TIMEOUT_MS = 5000;

/** Where the helper's program lies: beside this file in the sources, beside the bundle in the published package. */
export function helperProgram(): string {
  const here = import.meta.url;
  return fileURLToPath(new URL(here.endsWith('.ts') ? './helper.ts' : './latency-helper.js', here));
}

/** A running helper. */
export class LatencyHelper {
  readonly rttMs: { readonly baseline: number[]; readonly during: number[] } = { baseline: [], during: [] };
  stats: { readonly connections: number; readonly chunks: number; readonly meanDelayMs: number } = {
    connections: 0,
    chunks: 0,
    meanDelayMs: 0,
  };
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #clock: Clock;
  readonly #waiting = new Map<HelperSaid['said'], (message: HelperSaid) => void>();
  readonly #exited: Promise<string>;
  #stderr = '';

  private constructor(child: ChildProcessWithoutNullStreams, clock: Clock) {
    this.#child = child;
    this.#clock = clock;
    this.#exited = new Promise((resolve) => {
      child.on('error', (error) => resolve(errorMessage(error)));
      child.on('exit', (code, signal) => resolve(`it ended with ${signal ?? code} ${this.#stderr.trim()}`));
    });
    child.stdin.on('error', () => {});
    child.stderr.on('data', (chunk: Uint8Array) => {
      this.#stderr = (this.#stderr + Buffer.from(chunk).toString()).slice(-2000);
    });
    createInterface({ input: child.stdout }).on('line', (line) => this.#hear(line));
  }

  /** Starts a helper in `namespace` and waits until its rules are installed. Error: `INJECTION_FAILED`. */
  static async start(
    task: HelperTask,
    namespace: NamespaceRef,
    options: { readonly clock: Clock; readonly program?: string },
  ): Promise<LatencyHelper> {
    const program = options.program ?? helperProgram();
    // Sources need the condition under which in-repo imports resolve to sources.
    const flags = program.endsWith('.ts') ? ['--conditions=heptad-source'] : [];
    const inner = [process.execPath, ...flags, program, 'supervise', JSON.stringify(task)];
    const [command = '', ...args] = await insideNamespace(namespace, inner);
    // Its own process group: Ctrl-C at the terminal must reach it as the end of stdin, which it cleans up on.
    const child = spawn(command, args, { detached: true, stdio: 'pipe', env: systemPath() });
    const helper = new LatencyHelper(child, options.clock);
    const failed = helper
      .#next('failed')
      .then((message) => (message.said === 'failed' ? message.message : ''));
    const outcome = await Promise.race([
      helper.#next('installed').then(() => undefined),
      failed,
      helper.#exited,
      options.clock.sleep(INSTALL_TIMEOUT_MS).then(() => `no sign of life within ${INSTALL_TIMEOUT_MS} ms`),
    ]);
    if (outcome !== undefined) {
      helper.kill();
      throw new HeptadError('INJECTION_FAILED', `cannot delay connections in ${namespace.path}: ${outcome}`, {
        hint: 'network faults need root, nft and nsenter',
      });
    }
    return helper;
  }

  say(word: HelperWord): void {
    if (this.#child.stdin.writable) this.#child.stdin.write(`${word}\n`);
  }

  /** Asks it to remove the fault; resolves with whether it said it did. */
  async remove(): Promise<boolean> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return false;
    const removed = this.#next('removed').then(() => true);
    this.say('remove');
    const done = await Promise.race([
      removed,
      this.#exited.then(() => false),
      this.#clock.sleep(REMOVE_TIMEOUT_MS).then(() => false),
    ]);
    if (!done) this.kill();
    return done;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Of the supervisor; the proxy is its child. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  #next(said: HelperSaid['said']): Promise<HelperSaid> {
    return new Promise((resolve) => this.#waiting.set(said, resolve));
  }

  #hear(line: string): void {
    const parsed = helperSaid.safeParse(JSON.parse(line));
    if (!parsed.success) return;
    const message = parsed.data;
    if (message.said === 'stats') this.stats = message;
    if (message.said === 'rtt') this.rttMs[message.when].push(message.rttMs);
    this.#waiting.get(message.said)?.(message);
  }
}
