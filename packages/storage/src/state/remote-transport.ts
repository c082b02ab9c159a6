// One HTTP request to a state server, and what is known of it afterwards: done, certainly not done, or unknown.

import { type Clock, errorMessage, HeptadError, isHeptadError, type Outcome } from '@heptad/core';
import { Agent, type Dispatcher, request } from 'undici';
import { wasNeverSent } from '../wire/never-sent.ts';
import { fromProblem, type Parse, parseAnswer } from './wire.ts';

/** Where and as whom. */
export interface TransportOptions {
  /** Base of the state API, such as `http://127.0.0.1:7070/api/v1/state`. */
  readonly url: string;
  /** Bearer token, or a function that gives the present one (tokens rotate). */
  readonly token?: string | (() => string | Promise<string>);
  readonly clock: Clock;
  /** For TLS identities, proxies and tests. Default: an agent of its own. */
  readonly dispatcher?: Dispatcher;
}

/** A request that did not answer with a result. */
export class TransportFailure extends Error {
  /** Whether the server can have carried it out. */
  readonly outcome: Exclude<Outcome, 'done'>;
  /** The server's own refusal, when there was one. */
  readonly refusal: HeptadError | undefined;

  constructor(outcome: Exclude<Outcome, 'done'>, message: string, cause?: unknown) {
    super(message, { cause });
    this.outcome = outcome;
    this.refusal = isHeptadError(cause) ? cause : undefined;
  }
}

/** Codes with which the server says that it did nothing and that a later try may succeed. */
const TRY_LATER: ReadonlySet<string> = new Set(['UNAVAILABLE', 'STORE_CLOSED']);

/** Whether a failure may pass by itself. */
export function mayPass(failure: TransportFailure): boolean {
  return failure.refusal === undefined || TRY_LATER.has(failure.refusal.code);
}

/** Sends requests to one state server. */
export class StateTransport {
  readonly #options: TransportOptions;
  readonly #dispatcher: Dispatcher;
  readonly #ownsDispatcher: boolean;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#ownsDispatcher = options.dispatcher === undefined;
    // Watches are endless and may be silent; our own clock judges them, so the library's timeouts are off.
    this.#dispatcher = options.dispatcher ?? new Agent({ bodyTimeout: 0, headersTimeout: 0 });
  }

  /** Sends and parses the answer. Rejects with {@link TransportFailure}, or the signal's reason. */
  async call<T>(
    path: string,
    body: unknown,
    parse: Parse<T>,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<T> {
    const limit = new AbortController();
    const timer = this.#options.clock.timer(timeoutMs, () =>
      limit.abort(new Error(`no answer within ${timeoutMs} ms`)),
    );
    const stop = AbortSignal.any([signal, limit.signal]);
    try {
      const response = await this.#send(path, body, stop);
      const text = await this.#receive(() => response.body.text());
      if (response.statusCode === 200) return parse(parseJson(text));
      throw refusalOf(response.statusCode, text);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof TransportFailure) throw error;
      throw new TransportFailure('unknown', errorMessage(error), error);
    } finally {
      timer.cancel();
    }
  }

  /** Opens an endless answer and gives its bytes. Rejects as {@link StateTransport.call}. */
  async stream(path: string, body: unknown, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const response = await this.#send(path, body, signal);
    if (response.statusCode === 200) return response.body;
    throw refusalOf(response.statusCode, await this.#receive(() => response.body.text()));
  }

  async #send(path: string, body: unknown, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const { url, token } = this.#options;
    const bearer = await bearerOf(token);
    try {
      return await request(`${url}${path}`, {
        method: 'POST',
        dispatcher: this.#dispatcher,
        signal,
        headers: {
          'content-type': 'application/json',
          ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
        },
        body: JSON.stringify(body),
      });
    } catch (error) {
      const outcome = wasNeverSent(error) ? 'failed' : 'unknown';
      throw new TransportFailure(outcome, `${url}${path}: ${errorMessage(error)}`, error);
    }
  }

  async #receive(read: () => Promise<string>): Promise<string> {
    try {
      return await read();
    } catch (error) {
      throw new TransportFailure('unknown', `the answer was cut off: ${errorMessage(error)}`, error);
    }
  }

  /** Closes the connections it opened. */
  async close(): Promise<void> {
    if (this.#ownsDispatcher) await this.#dispatcher.destroy();
  }
}

/** The present token. Without one nothing is sent. */
async function bearerOf(token: TransportOptions['token']): Promise<string | undefined> {
  if (typeof token !== 'function') return token;
  try {
    return await token();
  } catch (error) {
    throw new TransportFailure('failed', `there is no token to send: ${errorMessage(error)}`, error);
  }
}

function parseJson(text: string): unknown {
  return JSON.parse(text);
}

/** What an answer other than 200 means. Only our own problems are proof that nothing was done. */
function refusalOf(status: number, text: string): TransportFailure {
  try {
    const error = fromProblem(parseAnswer.problem(parseJson(text)));
    const outcome = error.code === 'UNKNOWN_OUTCOME' || error.code === 'INTERNAL' ? 'unknown' : 'failed';
    return new TransportFailure(outcome, error.message, error);
  } catch {
    const shown = text.slice(0, 200);
    if (status === 401 || status === 403) {
      const refused = new HeptadError('ACCESS_DENIED', `the server answered ${status}: ${shown}`, {
        hint: 'check the token',
      });
      return new TransportFailure('failed', refused.message, refused);
    }
    return new TransportFailure('unknown', `the server answered ${status}: ${shown}`);
  }
}
