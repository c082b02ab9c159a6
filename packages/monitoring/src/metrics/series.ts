// One series in memory: its labels, its newest samples compressed, and the full chunks that wait for the disk.

import { readChunk, XorChunk } from '../storage/xor-chunk.ts';
import type { Labels } from './labels.ts';

/** A chunk is full at this many samples, as in Prometheus: longer ones compress little better and read slower. */
export const CHUNK_SAMPLES = 120;

/** A chunk is also full when it spans this long, so that a range query knows how far back to look for its start. */
export const CHUNK_SPAN_MS: number = 2 * 60 * 60 * 1000;

/** An encoded run of samples. */
export interface EncodedChunk {
  readonly minTime: number;
  readonly maxTime: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** What {@link MemorySeries.offer} says of a sample. */
export type Verdict = 'appended' | 'repeated' | 'out-of-order' | 'duplicate-timestamp';

/** The in-memory part of a series. */
export class MemorySeries {
  readonly id: number;
  readonly labels: Labels;
  readonly key: string;
  /** The row of this series is on disk. */
  persisted: boolean;
  /** The open chunk differs from what is on disk. */
  dirty = false;
  /** Full chunks that are not on disk yet, oldest first. */
  sealed: EncodedChunk[] = [];
  /** Newest time in the chunks on disk, -1 when there are none: a query of later times need not ask the disk. */
  storedUntil = -1;
  /** Time of the newest sample, -1 when there is none. */
  lastTime = -1;
  lastValue: number = Number.NaN;
  #open: XorChunk | undefined;

  constructor(id: number, labels: Labels, key: string, persisted: boolean) {
    this.id = id;
    this.labels = labels;
    this.key = key;
    this.persisted = persisted;
  }

  /** What {@link MemorySeries.append} would do with a sample. */
  offer(time: number, value: number): Verdict {
    if (time > this.lastTime) return 'appended';
    if (time < this.lastTime) return 'out-of-order';
    return Object.is(value, this.lastValue) ? 'repeated' : 'duplicate-timestamp';
  }

  /** Adds a sample that {@link MemorySeries.offer} called `appended`. */
  append(time: number, value: number): void {
    if (this.#open !== undefined) {
      if (this.#open.count >= CHUNK_SAMPLES || time - this.#open.minTime >= CHUNK_SPAN_MS) this.seal();
    }
    if (this.#open === undefined) this.#open = XorChunk.of(time, value);
    else this.#open.append(time, value);
    this.lastTime = time;
    this.lastValue = value;
    this.dirty = true;
  }

  /** Moves the open chunk to the full ones. */
  seal(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.sealed.push({
      minTime: open.minTime,
      maxTime: open.maxTime,
      count: open.count,
      bytes: open.toBytes(),
    });
    this.#open = undefined;
    this.dirty = true;
  }

  /** The open chunk as it would go to disk. */
  openChunk(): EncodedChunk | undefined {
    const open = this.#open;
    if (open === undefined) return undefined;
    return { minTime: open.minTime, maxTime: open.maxTime, count: open.count, bytes: open.toBytes() };
  }

  /** Takes up an open chunk from disk. */
  restore(bytes: Uint8Array, count: number): void {
    this.#open = XorChunk.resume(bytes, count);
    this.lastTime = this.#open.maxTime;
    this.lastValue = this.#open.lastValue;
  }

  /** Compressed bytes in memory. */
  get bytes(): number {
    let sum = this.#open?.size ?? 0;
    for (const chunk of this.sealed) sum += chunk.bytes.length;
    return sum;
  }

  /** Calls `visit` with every sample in memory from `start` to `end`, both included, oldest first. */
  read(start: number, end: number, visit: (time: number, value: number) => void): void {
    for (const chunk of this.sealed) readPart(chunk, start, end, visit);
    if (this.#open !== undefined && this.#open.minTime <= end && this.#open.maxTime >= start) {
      const open = this.openChunk();
      if (open !== undefined) readPart(open, start, end, visit);
    }
  }
}

/** Calls `visit` with the samples of a chunk that lie in a time range, both ends included. */
export function readPart(
  chunk: EncodedChunk,
  start: number,
  end: number,
  visit: (time: number, value: number) => void,
): void {
  if (chunk.minTime > end || chunk.maxTime < start) return;
  readChunk(chunk.bytes, chunk.count, (time, value) => {
    if (time >= start && time <= end) visit(time, value);
  });
}
