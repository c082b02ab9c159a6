// Anti-entropy: goes through the records of all objects, a bounded part each round, and mends the objects that differ.

import { errorMessage, type StateStore } from '@heptad/core';
import { pages } from './digest.ts';
import type { ObjectMender } from './object-mender.ts';
import { OBJECTS_PREFIX, parseRecord, parseRecordKey } from './object-records.ts';

/**
 * Time between two rounds. What a refused or interrupted write left, or a disk lost, is found within about a minute where
 * everything fits one round; and a round that finds nothing costs little enough to be repeated for ever.
 */
export const ANTI_ENTROPY_INTERVAL_MS = 60_000;
/** Objects of one round: as many reads as a small cluster answers in some seconds. */
const OBJECTS_PER_ROUND = 1000;
/** Bytes of one round: about 1 MiB/s, a small share of any disk's; 100 GiB are read through in about a day. */
const BYTES_PER_ROUND: number = 64 * 1024 * 1024;
/** Failures that end a round: each may have waited for a silent centre, and the next round goes on behind them. */
const FAILURES_PER_ROUND = 10;
/** Above every record. */
const END = `${OBJECTS_PREFIX}\u{10ffff}`;

/** What one round found. */
export interface AntiEntropyRound {
  readonly checked: number;
  /** `bucket/key` of objects that were brought in again. */
  readonly repaired: readonly string[];
  /** Objects that differ and that no centre could give now, and why: `bucket/key: ...`. */
  readonly failed: readonly string[];
}

/** Anti-entropy of one centre. */
export class AntiEntropy {
  readonly #state: StateStore;
  readonly #mender: ObjectMender;
  /** Last record of the round before; the next goes on behind it. */
  #after = OBJECTS_PREFIX;
  #running: Promise<AntiEntropyRound> | undefined;

  constructor(options: { readonly state: StateStore; readonly mender: ObjectMender }) {
    this.#state = options.state;
    this.#mender = options.mender;
  }

  /** One round; the one under way, if any. An object that cannot be mended does not keep others from it. */
  round(signal?: AbortSignal): Promise<AntiEntropyRound> {
    this.#running ??= this.#round(signal).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #round(signal?: AbortSignal): Promise<AntiEntropyRound> {
    const repaired: string[] = [];
    const failed: string[] = [];
    let checked = 0;
    let bytes = 0;
    for await (const page of pages(this.#state, { after: this.#after, upTo: END })) {
      for (const { key, value } of page) {
        const spent = checked >= OBJECTS_PER_ROUND || bytes >= BYTES_PER_ROUND;
        if (spent || failed.length >= FAILURES_PER_ROUND || signal?.aborted)
          return { checked, repaired, failed };
        this.#after = key;
        const name = parseRecordKey(key);
        if (name === undefined) continue;
        checked += 1;
        bytes += parseRecord(value).sizeBytes;
        try {
          const { ok } = await this.#mender.check(name);
          if (!ok && (await this.#mender.mend(name))) repaired.push(`${name.bucket}/${name.key}`);
        } catch (error) {
          failed.push(`${name.bucket}/${name.key}: ${errorMessage(error)}`);
        }
      }
    }
    this.#after = OBJECTS_PREFIX;
    return { checked, repaired, failed };
  }
}
