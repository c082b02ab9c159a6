// Calls over the Network port: one connection a call. This is how the whole protocol runs in the simulator, unchanged.

import { type Clock, errorMessage, HeptadError, isHeptadError, type Network } from '@heptad/core';
import { z } from 'zod';
import type { CallHandler, Endpoint, Transport } from './transport.ts';

const requestSchema = z.object({ method: z.string(), message: z.unknown() });
const answerSchema = z.object({
  value: z.unknown().optional(),
  problem: z
    .object({
      code: z.string(),
      message: z.string(),
      details: z.record(z.string(), z.unknown()).default({}),
      retryable: z.boolean().default(false),
    })
    .optional(),
});

/** Calls over any {@link Network}. */
export class NetworkTransport implements Transport {
  readonly #network: Network;
  readonly #clock: Clock;

  constructor(options: { readonly network: Network; readonly clock: Clock }) {
    this.#network = options.network;
    this.#clock = options.clock;
  }

  async call(
    address: string,
    method: string,
    message: unknown,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<unknown> {
    const stop = new AbortController();
    const unknown = (why: string): HeptadError<'UNKNOWN_OUTCOME'> =>
      new HeptadError('UNKNOWN_OUTCOME', `no answer to ${method} from ${address}: ${why}`);
    let giveUp: (error: unknown) => void = () => {};
    const givenUp = new Promise<never>((_, reject) => {
      giveUp = reject;
    });
    givenUp.catch(() => {});
    const abort = (): void => {
      giveUp(unknown('aborted'));
      stop.abort();
    };
    options.signal?.addEventListener('abort', abort, { once: true });
    const timer = this.#clock.timer(options.timeoutMs, () => {
      giveUp(unknown(`nothing within ${options.timeoutMs} ms`));
      stop.abort();
    });
    try {
      return await Promise.race([this.#exchange(address, method, message, stop.signal), givenUp]);
    } finally {
      timer.cancel();
      options.signal?.removeEventListener('abort', abort);
      stop.abort();
    }
  }

  async #exchange(address: string, method: string, message: unknown, signal: AbortSignal): Promise<unknown> {
    const connection = await this.#network.dial(address, signal).catch((cause: unknown) => {
      throw new HeptadError('UNREACHABLE', `cannot reach ${address} for ${method}: ${errorMessage(cause)}`, {
        cause,
        retryable: true,
      });
    });
    signal.addEventListener('abort', () => void connection.close().catch(() => {}), { once: true });
    try {
      await connection.send(Buffer.from(JSON.stringify({ method, message })));
      for await (const bytes of connection.receive()) {
        const { value, problem } = answerSchema.parse(JSON.parse(Buffer.from(bytes).toString()));
        if (problem === undefined) return value;
        throw new HeptadError(problem.code, problem.message, {
          details: problem.details,
          retryable: problem.retryable,
        });
      }
    } catch (cause) {
      if (isHeptadError(cause) && cause.code !== 'CONNECTION_BROKEN') throw cause;
      throw new HeptadError(
        'UNKNOWN_OUTCOME',
        `no answer to ${method} from ${address}: ${errorMessage(cause)}`,
        { cause },
      );
    } finally {
      await connection.close().catch(() => {});
    }
    throw new HeptadError('UNKNOWN_OUTCOME', `${address} closed the connection without answering ${method}`);
  }

  async serve(address: string, handler: CallHandler): Promise<Endpoint> {
    const listener = await this.#network.listen(address, (connection) => {
      const answer = async (): Promise<void> => {
        for await (const bytes of connection.receive()) {
          const { method, message } = requestSchema.parse(JSON.parse(Buffer.from(bytes).toString()));
          const said = await handler(method, message).then(
            (value) => ({ value }),
            (error: unknown) => ({
              problem: isHeptadError(error) ? error : new HeptadError('UNKNOWN_OUTCOME', errorMessage(error)),
            }),
          );
          await connection.send(Buffer.from(JSON.stringify(said)));
        }
      };
      // A broken connection is the caller's to notice.
      answer().catch(() => {});
    });
    return { address: listener.address, [Symbol.asyncDispose]: () => listener.close() };
  }
}
