// All series of a store: by label set, by label, and which of them are not on disk yet.

import { MonitoringError } from '../errors.ts';
import { type Labels, labelKey, METRIC_NAME, normalizeLabels } from './labels.ts';
import type { Matcher } from './matcher.ts';
import { Postings } from './postings.ts';
import { MemorySeries } from './series.ts';

/** Finds and makes series; never more than `limit`. */
export class SeriesTable implements Iterable<MemorySeries> {
  readonly limit: number;
  readonly #byKey = new Map<string, MemorySeries>();
  readonly #postings = new Postings<MemorySeries>();
  #unwritten: MemorySeries[] = [];
  #nextId = 1;

  constructor(limit: number) {
    this.limit = limit;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** Series that no commit has written yet. */
  get unwritten(): readonly MemorySeries[] {
    return this.#unwritten;
  }

  [Symbol.iterator](): Iterator<MemorySeries> {
    return this.#byKey.values();
  }

  /** The series of a label set, made when it is new; `undefined` when the table is full. Throws `INVALID_SAMPLE`. */
  obtain(labels: Labels): MemorySeries | undefined {
    const key = labelKey(labels);
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const normal = normalizeLabels(labels);
    if (normal[METRIC_NAME] === undefined)
      throw new MonitoringError('INVALID_SAMPLE', 'a series has no metric name');
    if (this.#byKey.size >= this.limit) return undefined;
    const series = this.#add(new MemorySeries(this.#nextId, normal, key, false));
    this.#unwritten.push(series);
    return series;
  }

  /** Takes up a series from disk. */
  restore(id: number, labels: Labels): MemorySeries {
    return this.#add(new MemorySeries(id, labels, labelKey(labels), true));
  }

  remove(series: MemorySeries): void {
    this.#byKey.delete(series.key);
    this.#postings.remove(series);
  }

  /** Notes that a commit has written all series. */
  markWritten(): void {
    for (const series of this.#unwritten) series.persisted = true;
    this.#unwritten = [];
  }

  select(matchers: readonly Matcher[]): MemorySeries[] {
    return this.#postings.select(matchers);
  }

  labelNames(): string[] {
    return this.#postings.names();
  }

  labelValues(name: string): string[] {
    return this.#postings.values(name);
  }

  #add(series: MemorySeries): MemorySeries {
    this.#byKey.set(series.key, series);
    this.#postings.add(series);
    this.#nextId = Math.max(this.#nextId, series.id + 1);
    return series;
  }
}
