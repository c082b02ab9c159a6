// What goes into and comes out of the metric store.

import type { Clock } from '@heptad/core';
import type { Labels } from './labels.ts';

/** One measured value. */
export interface Sample {
  /** All labels, `__name__` among them. */
  readonly labels: Labels;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly value: number;
}

/** Why a sample was not taken. */
export type RejectReason =
  | 'out-of-order'
  | 'duplicate-timestamp'
  | 'too-old'
  | 'too-far-ahead'
  | 'invalid'
  | 'too-many-series';

/** A sample that was not taken. */
export interface RejectedSample {
  readonly sample: Sample;
  readonly reason: RejectReason;
  /** A sentence for people. */
  readonly message: string;
}

/** What became of a batch. The accepted ones are durable. */
export interface AppendResult {
  readonly accepted: number;
  readonly rejected: readonly RejectedSample[];
}

/** The samples of one series in a time range, oldest first; both arrays have the same length. */
export interface SeriesData {
  readonly labels: Labels;
  readonly times: Float64Array;
  readonly values: Float64Array;
}

/** What a metric is, for exposition and for people. */
export interface MetricMetadata {
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary' | 'untyped';
  readonly help: string;
  readonly unit: string;
}

/** Options of {@link MetricStore}. */
export interface MetricStoreOptions {
  /** Directory for `metrics.db`; it must exist. Default: memory only. */
  readonly directory?: string;
  readonly clock?: Clock;
  /** Samples older than this are removed, in milliseconds. Default 15 days. */
  readonly retentionMs?: number;
  /** Most series at once. A new one beyond it is refused, known ones go on. Default 100,000. */
  readonly maxSeries?: number;
  /** Fsync each commit, so that acknowledged samples survive power loss. Default true. */
  readonly fsync?: boolean;
}

/** Figures about a store. */
export interface MetricStoreStats {
  readonly series: number;
  readonly samplesAppended: number;
  readonly samplesRejected: number;
  /** Samples that are durable but not yet folded into chunks on disk. */
  readonly samplesInLog: number;
  /** Compressed bytes held in memory. */
  readonly headBytes: number;
}
