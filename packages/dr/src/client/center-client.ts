// CenterClient: finds the primary among the centres, follows it through failovers, and never repeats a write of which it does
// not know the outcome.

import {
  type Clock,
  errorMessage,
  HeptadError,
  invalidArgument,
  isHeptadError,
  type RangeQuery,
  type RangeResult,
  systemClock,
  type Txn,
  type TxnResult,
} from '@heptad/core';
import { HttpTransport } from '../center/http-transport.ts';
import type { CenterStatus } from '../center/status.ts';
import type { Transport } from '../center/transport.ts';

/** How to reach the centres. */
export interface CenterClientOptions {
  /** `host:port` of the centres; some may be down. */
  readonly addresses: readonly string[];
  readonly secret?: string;
  /** An operation that found no primary for so long is given up. Default 30000. */
  readonly timeoutMs?: number;
  /** One centre's answer is waited for so long. Default 3000. */
  readonly attemptTimeoutMs?: number;
  readonly transport?: Transport;
  readonly clock?: Clock;
}

/** Time between two rounds over the centres when none is primary. */
const ROUND_MS = 50;
/** Catching up and being elected take some seconds; longer than both may take together. */
const SWITCHOVER_TIMEOUT_MS = 20_000;

/**
 * A client of a {@link Topology}'s replicated state.
 *
 * Reads are repeated until a primary answers. A write is repeated only while it is certain that nobody received it; otherwise
 * it fails with `UNKNOWN_OUTCOME`, and it is for the caller to read back.
 *
 * @example
 * ```ts
 * import { CenterClient } from '@heptad/dr';
 *
 * export async function remember(addresses: string[], value: string): Promise<void> {
 *   const client = new CenterClient({ addresses });
 *   await client.put('/last', value);
 * }
 * ```
 */
export class CenterClient {
  readonly #options: CenterClientOptions;
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #attemptTimeoutMs: number;
  #primary: string | undefined;

  constructor(options: CenterClientOptions) {
    if (options.addresses.length === 0) throw invalidArgument('cannot reach centres: no address was given');
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#attemptTimeoutMs = options.attemptTimeoutMs ?? 3000;
    this.#transport =
      options.transport ??
      new HttpTransport({
        clock: this.#clock,
        ...(options.secret === undefined ? {} : { secret: options.secret }),
      });
  }

  /** Reads. Errors: `NO_PRIMARY` with what each centre said, when none was found in time; those of the store. */
  async range(query: RangeQuery, signal?: AbortSignal): Promise<RangeResult> {
    return (await this.#ask('range', query, {
      repeatUnknown: true,
      ...(signal === undefined ? {} : { signal }),
    })) as RangeResult;
  }

  /** Writes. Errors: `NO_PRIMARY` (certainly not done), `UNKNOWN_OUTCOME` (may or may not be done); those of the store. */
  async txn(txn: Txn, signal?: AbortSignal): Promise<TxnResult> {
    return (await this.#ask('txn', txn, {
      repeatUnknown: false,
      ...(signal === undefined ? {} : { signal }),
    })) as TxnResult;
  }

  /** Writes one key. Errors as {@link txn}. */
  async put(key: string, value: string, signal?: AbortSignal): Promise<TxnResult> {
    return this.txn({ compare: [], success: [{ op: 'put', key, value }] }, signal);
  }

  /** Reads one key; undefined when it is not there. */
  async get(key: string, signal?: AbortSignal): Promise<string | undefined> {
    return (await this.range({ key }, signal)).kvs[0]?.value;
  }

  /**
   * Asks the primary to hand over to `to` by plan, losing nothing; resolves when `to` is primary. Errors: `NO_PRIMARY`, and those
   * of `DisasterRecovery.switchover`.
   */
  async switchover(to: string, signal?: AbortSignal): Promise<void> {
    await this.#ask(
      'switchover',
      { to },
      {
        repeatUnknown: false,
        attemptTimeoutMs: SWITCHOVER_TIMEOUT_MS,
        ...(signal === undefined ? {} : { signal }),
      },
    );
  }

  /** Status of one centre. */
  async status(address: string): Promise<CenterStatus> {
    const timeoutMs = this.#attemptTimeoutMs;
    return (await this.#transport.call(address, 'status', {}, { timeoutMs })) as CenterStatus;
  }

  async #ask(
    method: string,
    message: unknown,
    options: {
      readonly repeatUnknown: boolean;
      readonly attemptTimeoutMs?: number;
      readonly signal?: AbortSignal;
    },
  ): Promise<unknown> {
    const deadlineMs = this.#clock.monotonicMs() + this.#timeoutMs;
    const said = new Map<string, string>();
    for (;;) {
      for (const address of this.#order()) {
        options.signal?.throwIfAborted();
        try {
          const answer = await this.#transport.call(address, method, message, {
            timeoutMs: options.attemptTimeoutMs ?? this.#attemptTimeoutMs,
            ...(options.signal === undefined ? {} : { signal: options.signal }),
          });
          this.#primary = address;
          return answer;
        } catch (error) {
          this.#refused(address, error, options.repeatUnknown);
          said.set(address, errorMessage(error));
        }
      }
      if (this.#clock.monotonicMs() >= deadlineMs) {
        const list = [...said].map(([address, text]) => `${address}: ${text}`).join('; ');
        throw new HeptadError(
          'NO_PRIMARY',
          `no centre took the ${method} within ${this.#timeoutMs} ms: ${list}`,
          {
            retryable: true,
            hint: 'look at heptad dr explain',
          },
        );
      }
      await this.#clock.sleep(ROUND_MS, options.signal);
    }
  }

  // Returns when another centre may be tried; throws when that would be wrong.
  #refused(address: string, error: unknown, repeatUnknown: boolean): void {
    if (this.#primary === address) this.#primary = undefined;
    if (isHeptadError(error, 'NOT_PRIMARY')) {
      const hinted = error.details.address;
      if (typeof hinted === 'string' && this.#options.addresses.includes(hinted)) this.#primary = hinted;
      return;
    }
    if (isHeptadError(error, 'UNREACHABLE')) return;
    if (isHeptadError(error, 'UNKNOWN_OUTCOME') && repeatUnknown) return;
    throw error;
  }

  #order(): readonly string[] {
    const first = this.#primary;
    const { addresses } = this.#options;
    return first === undefined ? addresses : [first, ...addresses.filter((address) => address !== first)];
  }
}
