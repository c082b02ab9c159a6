// CallController: the caller's one handle on a request that may take several attempts.

import type { Dispatcher } from 'undici';

type RawHeaders = Exclude<Dispatcher.DispatchController['rawHeaders'], undefined>;

/**
 * Flow control and abort must reach the attempt that is running *now*: a caller that pauses the connection of an attempt
 * that has failed would wait for ever. So callers hold this, and it follows the attempts.
 */
export class CallController implements Dispatcher.DispatchController {
  paused = false;
  aborted = false;
  reason: Error | null = null;
  rawHeaders: RawHeaders = null;
  rawTrailers: RawHeaders = null;
  readonly #onAbort: (reason: Error) => void;
  #current: Dispatcher.DispatchController | undefined;

  constructor(onAbort: (reason: Error) => void) {
    this.#onAbort = onAbort;
  }

  /** Follows the next attempt. */
  follow(controller: Dispatcher.DispatchController): void {
    this.#current = controller;
    if (this.reason !== null) controller.abort(this.reason);
    else if (this.paused) controller.pause();
  }

  /** The attempt is over. */
  release(): void {
    this.#current = undefined;
  }

  abort(reason: Error): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason ?? new Error('the request was aborted');
    if (this.#current === undefined) this.#onAbort(this.reason);
    else this.#current.abort(this.reason);
  }

  pause(): void {
    this.paused = true;
    this.#current?.pause();
  }

  resume(): void {
    this.paused = false;
    this.#current?.resume();
  }
}
