// Keeps one process running: starts it, adopts it after our own restart, starts it again when it ends.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Clock, errorMessage, HeptadError, systemClock } from '@heptad/core';
import {
  identify,
  isAlive,
  type ProcessIdentity,
  readPidFile,
  removePidFile,
  writePidFile,
} from './process-identity.ts';

/** What to keep running. */
export interface KeptProcess {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Its output is appended here; rotated once at start when over {@link LOG_ROTATE_BYTES}. */
  readonly logFile: string;
  readonly pidFile: string;
}

/** What happened to a kept process, as a sentence. */
export type KeeperListener = (message: string) => void;

/** A started process; `ended` tells how it ended. Boxed, because a promise of a promise collapses. */
interface Running {
  readonly ended: Promise<string>;
}

/** A log larger than this is moved to `.1` before the next start. */
const LOG_ROTATE_BYTES = 10 * 1024 * 1024;
/** How soon we notice that an adopted process ended (one of our own children tells us at once). */
const ADOPTED_POLL_MS = 200;
const RESTART_FIRST_MS = 100;
const RESTART_MAX_MS = 5_000;
/** A process that ran this long has recovered: the next restart is quick again. */
const RESTART_RESET_MS = 10_000;

function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true });
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LOG_ROTATE_BYTES)
    renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o640);
}

/** One kept process. It is detached: it survives us, and the next keeper with the same pid file adopts it. */
export class ProcessKeeper implements AsyncDisposable {
  readonly name: string;
  readonly #what: KeptProcess;
  readonly #clock: Clock;
  readonly #listen: KeeperListener;
  readonly #stopping = new AbortController();
  #identity: ProcessIdentity | undefined;
  #child: ChildProcess | undefined;
  #restarts = 0;
  #loop: Promise<void> | undefined;

  constructor(what: KeptProcess, options: { clock?: Clock; onEvent?: KeeperListener } = {}) {
    this.name = what.name;
    this.#what = what;
    this.#clock = options.clock ?? systemClock;
    this.#listen = options.onEvent ?? (() => {});
  }

  /** The process running now. */
  get pid(): number | undefined {
    return this.#identity !== undefined && isAlive(this.#identity) ? this.#identity.pid : undefined;
  }

  /** How often it ended and was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Begins to keep it running; resolves once it runs. Rejects when its log cannot be opened. */
  async start(): Promise<void> {
    const adopted = await readPidFile(this.#what.pidFile);
    if (this.#stopping.signal.aborted) return;
    const running = adopted === undefined ? await this.#spawn() : this.#adopt(adopted);
    this.#loop = this.#keep(running);
  }

  #adopt(identity: ProcessIdentity): Running {
    this.#identity = identity;
    this.#listen(`${this.name} is still running (pid ${identity.pid}); adopted`);
    const poll = async (): Promise<string> => {
      while (isAlive(identity) && !this.#stopping.signal.aborted) await this.#clock.sleep(ADOPTED_POLL_MS);
      return 'ended';
    };
    return { ended: poll() };
  }

  async #spawn(): Promise<Running> {
    const log = openLog(this.#what.logFile);
    const child = spawn(this.#what.command, [...this.#what.args], {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, ...this.#what.environment },
    });
    closeSync(log);
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(`could not start: ${error.message}`));
      child.once('exit', (code, signal) =>
        resolve(signal === null ? `exited with code ${code}` : `was killed by ${signal}`),
      );
    });
    // The handle stays referenced: it is what keeps us running while we keep it, and while we wait for its end.
    this.#child = child;
    const identity = child.pid === undefined ? undefined : identify(child.pid);
    this.#identity = identity;
    if (identity !== undefined) await this.#note(identity);
    return { ended };
  }

  /** Without a pid file (a full disk) the process is kept all the same; only our successor could not adopt it. */
  async #note(identity: ProcessIdentity): Promise<void> {
    try {
      await writePidFile(this.#what.pidFile, identity);
    } catch (error) {
      this.#listen(`cannot write ${this.#what.pidFile}: ${errorMessage(error)}`);
    }
  }

  /** A start that fails counts as an end: it is tried again, however long the disk is full or descriptors are short. */
  async #spawnAgain(): Promise<Running> {
    try {
      return await this.#spawn();
    } catch (error) {
      return { ended: Promise.resolve(`could not be started: ${errorMessage(error)}`) };
    }
  }

  async #keep(first: Running): Promise<void> {
    let { ended } = first;
    let backoffMs = RESTART_FIRST_MS;
    for (;;) {
      const startedAt = this.#clock.monotonicMs();
      const how = await ended;
      if (this.#stopping.signal.aborted) return;
      this.#restarts += 1;
      if (this.#clock.monotonicMs() - startedAt > RESTART_RESET_MS) backoffMs = RESTART_FIRST_MS;
      this.#listen(`${this.name} ${how}; starting it again in ${backoffMs} ms (log: ${this.#what.logFile})`);
      await this.#clock.sleep(backoffMs, this.#stopping.signal).catch(() => {});
      if (this.#stopping.signal.aborted) return;
      backoffMs = Math.min(backoffMs * 2, RESTART_MAX_MS);
      ({ ended } = await this.#spawnAgain());
    }
  }

  /** Stops watching and lets the process run on. */
  leave(): void {
    this.#stopping.abort();
    this.#child?.unref();
  }

  /**
   * Stops watching and ends the process: SIGTERM, then SIGKILL after `graceMs`.
   *
   * @throws HeptadError `PROCESS_STUCK` when it survives even that (uninterruptible in the kernel); `PERMISSION_DENIED`
   * when it is another user's.
   */
  async stop(options: { graceMs: number }): Promise<void> {
    this.#stopping.abort();
    const identity = this.#identity;
    if (identity !== undefined) await endProcess(identity, this.name, options.graceMs, this.#clock);
    await this.#loop;
    // Last: a start that was under way when we were stopped has written it meanwhile.
    await removePidFile(this.#what.pidFile);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop({ graceMs: 5_000 });
  }
}

const KILL_WAIT_MS = 5_000;
const END_POLL_MS = 20;

/** Ends a process that may not be our child: SIGTERM, wait, SIGKILL, wait. */
export async function endProcess(
  identity: ProcessIdentity,
  name: string,
  graceMs: number,
  clock: Clock = systemClock,
): Promise<void> {
  for (const [signal, waitMs] of [
    ['SIGTERM', graceMs],
    ['SIGKILL', KILL_WAIT_MS],
  ] as const) {
    if (!isAlive(identity)) return;
    try {
      process.kill(identity.pid, signal);
    } catch (error) {
      if (!isAlive(identity)) return; // It ended between the look and the signal.
      throw new HeptadError('PERMISSION_DENIED', `cannot end process ${identity.pid} (${name})`, {
        cause: error,
        hint: 'it belongs to another user; end it as that user or as root',
      });
    }
    const deadline = clock.monotonicMs() + waitMs;
    while (isAlive(identity) && clock.monotonicMs() < deadline) await clock.sleep(END_POLL_MS);
  }
  if (isAlive(identity)) {
    throw new HeptadError(
      'PROCESS_STUCK',
      `process ${identity.pid} (${name}) survived SIGKILL for ${KILL_WAIT_MS} ms`,
      {
        hint: 'it is stuck in the kernel (state D in ps); look at its disk or mounts',
      },
    );
  }
}
