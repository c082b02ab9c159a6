// A drill: a writer at the public endpoint, a real fault, and what it cost, measured from the client's side.

import { type Clock, isHeptadError, type Random, systemClock, systemRandom } from '@heptad/core';
import type { CenterClient } from '../client/center-client.ts';

/** Writes under way at once; beyond it the writer waits, as a real client would. */
const WRITES_IN_FLIGHT = 256;
const READ_PAGE = 1000;

/** How to drill. Times in milliseconds. */
export interface DrillOptions {
  readonly client: Pick<CenterClient, 'put' | 'range'>;
  /** Makes the fault; resolves when it is made, with what it was as a sentence. */
  readonly fault: () => Promise<string>;
  /** Shown in the report: `sync`, `async`. */
  readonly replication: string;
  /** Between writes. Default 10. */
  readonly intervalMs?: number;
  /** Writing before the fault. Default 2000. */
  readonly beforeMs?: number;
  /** Writing after the first success. Default 2000. */
  readonly afterMs?: number;
  /** Give up when no write succeeds so long after the fault. Default 60000. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly onProgress?: (message: string) => void;
  readonly signal?: AbortSignal;
}

/** What a drill found. JSON-safe. */
export interface DrillReport {
  readonly format: 'heptad-drill-report/1';
  readonly id: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly replication: string;
  readonly fault: string;
  /** From the fault to the end of the first successful write that began after it; null: none succeeded in time. */
  readonly rtoMs: number | null;
  /** Longest time between two acknowledgements in a row: how long a planned change made clients wait. */
  readonly longestPauseMs: number;
  /** Writes that were acknowledged and are not there. */
  readonly rpoOps: number;
  /** From the last acknowledged write that survived to the fault; 0 when nothing acknowledged was lost. */
  readonly rpoMs: number;
  readonly writes: {
    readonly acknowledged: number;
    /** No answer, or "unknown": of these `survived` are there. */
    readonly unknown: number;
    readonly survived: number;
    /** Certainly not done. */
    readonly failed: number;
  };
  /** Median time of a write before the fault, milliseconds. */
  readonly writeMs: number;
  /** Keys of lost writes: the first hundred. */
  readonly lost: readonly string[];
}

interface Write {
  readonly key: string;
  readonly beganMs: number;
  endedMs: number;
  outcome: 'pending' | 'acknowledged' | 'unknown' | 'failed';
}

/** Runs a drill. Errors: what the fault throws; `NO_PRIMARY` when the centres never served in the first place. */
export async function runDrill(options: DrillOptions): Promise<DrillReport> {
  const { client, clock = systemClock, random = systemRandom, onProgress = () => {}, signal } = options;
  const { intervalMs = 10, beforeMs = 2000, afterMs = 2000, timeoutMs = 60_000 } = options;
  const id = random.uuid(clock.now());
  const startedAt = new Date(clock.now()).toISOString();
  const prefix = `/drill/${id}/`;
  await client.put(`${prefix}first`, 'the centres serve');
  const writer = new Writer(client, clock, prefix);
  onProgress(`writing every ${intervalMs} ms`);
  const timer = clock.interval(intervalMs, () => writer.write());
  try {
    await clock.sleep(beforeMs, signal);
    const fault = await options.fault();
    const faultMs = clock.monotonicMs();
    onProgress(`fault: ${fault}`);
    const first = await writer.firstSuccess(faultMs, timeoutMs, signal);
    const rtoMs = first === undefined ? null : Math.round(first - faultMs);
    onProgress(
      rtoMs === null ? `no write succeeded within ${timeoutMs} ms` : `first write after ${rtoMs} ms`,
    );
    await clock.sleep(afterMs, signal);
    timer.cancel();
    await writer.settled();
    const present = rtoMs === null ? undefined : await readBack(client, prefix, signal);
    return {
      format: 'heptad-drill-report/1',
      id,
      startedAt,
      replication: options.replication,
      fault,
      rtoMs,
      ...writer.account(faultMs, present),
    };
  } finally {
    timer.cancel();
  }
}

class Writer {
  readonly #client: Pick<CenterClient, 'put'>;
  readonly #clock: Clock;
  readonly #prefix: string;
  readonly #writes: Write[] = [];
  readonly #pending = new Set<Promise<void>>();

  constructor(client: Pick<CenterClient, 'put'>, clock: Clock, prefix: string) {
    this.#client = client;
    this.#clock = clock;
    this.#prefix = prefix;
  }

  write(): void {
    if (this.#pending.size >= WRITES_IN_FLIGHT) return;
    const key = `${this.#prefix}${String(this.#writes.length).padStart(8, '0')}`;
    const write: Write = { key, beganMs: this.#clock.monotonicMs(), endedMs: 0, outcome: 'pending' };
    this.#writes.push(write);
    const running: Promise<void> = this.#client
      .put(key, String(this.#clock.now()))
      .then(
        () => {
          write.outcome = 'acknowledged';
        },
        (error: unknown) => {
          write.outcome =
            isHeptadError(error, 'NO_PRIMARY') || isHeptadError(error, 'NOT_PRIMARY') ? 'failed' : 'unknown';
        },
      )
      .finally(() => {
        write.endedMs = this.#clock.monotonicMs();
        this.#pending.delete(running);
      });
    this.#pending.add(running);
  }

  async settled(): Promise<void> {
    await Promise.all(this.#pending);
  }

  async firstSuccess(
    faultMs: number,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<number | undefined> {
    while (this.#clock.monotonicMs() < faultMs + timeoutMs) {
      const done = this.#writes.filter(
        (write) => write.outcome === 'acknowledged' && write.beganMs > faultMs,
      );
      if (done.length > 0) return Math.min(...done.map(({ endedMs }) => endedMs));
      await this.#clock.sleep(5, signal);
    }
    return undefined;
  }

  account(
    faultMs: number,
    present: ReadonlySet<string> | undefined,
  ): Pick<DrillReport, 'longestPauseMs' | 'rpoOps' | 'rpoMs' | 'writes' | 'writeMs' | 'lost'> {
    const of = (outcome: Write['outcome']): Write[] =>
      this.#writes.filter((write) => write.outcome === outcome);
    const acknowledged = of('acknowledged');
    const unknown = of('unknown');
    const lost = present === undefined ? [] : acknowledged.filter(({ key }) => !present.has(key));
    const survivors = acknowledged.filter(({ key, endedMs }) => endedMs <= faultMs && present?.has(key));
    const last = Math.max(...survivors.map(({ endedMs }) => endedMs), Number.NEGATIVE_INFINITY);
    const before = acknowledged
      .filter(({ endedMs }) => endedMs <= faultMs)
      .map((write) => write.endedMs - write.beganMs);
    before.sort((a, b) => a - b);
    const ends = acknowledged.map(({ endedMs }) => endedMs).sort((a, b) => a - b);
    const pauses = ends.slice(1).map((end, index) => end - (ends[index] ?? end));
    return {
      longestPauseMs: Math.round(Math.max(0, ...pauses)),
      rpoOps: lost.length,
      rpoMs: lost.length === 0 ? 0 : Math.round(faultMs - last),
      writes: {
        acknowledged: acknowledged.length,
        unknown: unknown.length,
        survived: unknown.filter(({ key }) => present?.has(key)).length,
        failed: of('failed').length,
      },
      writeMs: Number((before[Math.floor(before.length / 2)] ?? 0).toFixed(2)),
      lost: lost.slice(0, 100).map(({ key }) => key),
    };
  }
}

async function readBack(
  client: Pick<CenterClient, 'range'>,
  prefix: string,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<string>> {
  const keys = new Set<string>();
  let key = prefix;
  for (;;) {
    const page = await client.range({ key, end: `${prefix}\u{10ffff}`, limit: READ_PAGE }, signal);
    for (const kv of page.kvs) keys.add(kv.key);
    const last = page.kvs.at(-1);
    if (!page.more || last === undefined) return keys;
    key = `${last.key}\u0000`;
  }
}

/** A report as Markdown. */
export function renderDrillMarkdown(report: DrillReport): string {
  const { writes } = report;
  return [
    `# Drill ${report.id}`,
    '',
    `${report.startedAt}, replication ${report.replication}, fault: ${report.fault}`,
    '',
    '| measure | value | meaning |',
    '| --- | --- | --- |',
    `| RTO | ${report.rtoMs === null ? 'not recovered' : `${report.rtoMs} ms`} | fault to the first successful write through the public endpoint |`,
    `| longest pause | ${report.longestPauseMs} ms | between two acknowledged writes |`,
    `| RPO (writes) | ${report.rpoOps} | acknowledged and not there afterwards |`,
    `| RPO (time) | ${report.rpoMs} ms | last acknowledged write that survived, to the fault |`,
    `| writes acknowledged | ${writes.acknowledged} | |`,
    `| writes with unknown outcome | ${writes.unknown} | ${writes.survived} of them are there |`,
    `| writes refused | ${writes.failed} | certainly not done |`,
    `| write before the fault | ${report.writeMs} ms | median |`,
    '',
  ].join('\n');
}
