// The life of a centre's server: standby until it is primary, active while it is, standby again.

import { type Clock, errorMessage } from '@heptad/core';
import type { Logger } from 'pino';
import type { PlatformCenter } from './platform-center.ts';

/** What {@link runCenter} works with. */
export interface RunCenterOptions {
  readonly center: PlatformCenter;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Opens the server of a primary. */
  readonly openActive: () => Promise<AsyncDisposable>;
  /** Opens the one of any other centre; `problem`: why it could not serve although it was primary. */
  readonly openStandby: (problem: string | undefined) => Promise<AsyncDisposable>;
}

const POLL_MS = 100;
/** An answer that says "handed over" is let out before its server closes. */
const LAST_ANSWERS_MS = 500;
/** After the active server could not be opened. */
const RETRY_MS = 2_000;

/** Runs it. Resolves once the standby server listens; the first one must be able to. Disposing ends it. */
export async function runCenter(options: RunCenterOptions): Promise<AsyncDisposable> {
  const stop = new AbortController();
  const first = await options.openStandby(undefined);
  const running = new CenterLife(options, stop.signal).run(first);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort(new Error('the server is stopping'));
      await running;
    },
  };
}

class CenterLife {
  readonly #options: RunCenterOptions;
  readonly #signal: AbortSignal;

  constructor(options: RunCenterOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async run(first: AsyncDisposable): Promise<void> {
    const { clock, openStandby } = this.#options;
    let standby: AsyncDisposable | undefined = first;
    while (!this.#signal.aborted) {
      await this.#until(() => this.#isPrimary());
      await this.#close(standby, 'standby');
      standby = undefined;
      if (this.#signal.aborted) return;
      const problem = await this.#serveAsPrimary();
      if (this.#signal.aborted) return;
      standby = await this.#persistently('standby', () => openStandby(problem));
      if (problem !== undefined) await clock.sleep(RETRY_MS, this.#signal).catch(() => {});
    }
    await this.#close(standby, 'standby');
  }

  /** Serves until it is no longer primary; resolves with why it could not. */
  async #serveAsPrimary(): Promise<string | undefined> {
    const { clock, logger, openActive } = this.#options;
    let active: AsyncDisposable;
    try {
      active = await openActive();
    } catch (error) {
      logger.error({ err: error }, 'this centre is primary but its server cannot be opened');
      return errorMessage(error);
    }
    await this.#until(() => !this.#isPrimary());
    logger.warn(this.#signal.aborted ? 'the server stops' : 'this centre is no longer primary');
    if (!this.#signal.aborted) await clock.sleep(LAST_ANSWERS_MS, this.#signal).catch(() => {});
    await this.#close(active, 'active');
    return undefined;
  }

  #isPrimary(): boolean {
    return this.#options.center.recovery.status().role === 'primary';
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!this.#signal.aborted && !condition())
      await this.#options.clock.sleep(POLL_MS, this.#signal).catch(() => {});
  }

  // What an ex-primary's parts still want to write at their end is refused, and rightly so.
  async #close(server: AsyncDisposable | undefined, which: string): Promise<void> {
    try {
      await server?.[Symbol.asyncDispose]();
    } catch (error) {
      this.#options.logger.warn({ err: error }, `the ${which} server did not close cleanly`);
    }
  }

  /** A port may still be in the hands of what was just closed. */
  async #persistently(
    which: string,
    open: () => Promise<AsyncDisposable>,
  ): Promise<AsyncDisposable | undefined> {
    const { clock, logger } = this.#options;
    while (!this.#signal.aborted) {
      try {
        return await open();
      } catch (error) {
        logger.error({ err: error }, `the ${which} server cannot be opened`);
        await clock.sleep(RETRY_MS, this.#signal).catch(() => {});
      }
    }
    return undefined;
  }
}
