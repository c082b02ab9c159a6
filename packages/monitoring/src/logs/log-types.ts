// What goes into and comes out of the log store.

import type { Clock } from '@heptad/core';
import type { Attributes } from '../ingest/otlp-model.ts';

/** Severity, coarse, as people speak of it. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

/** Levels from least to most severe. */
export const LOG_LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];

/** A log record to store. */
export interface LogRecord {
  /** Milliseconds since 1970, may have a fraction. */
  readonly at: number;
  readonly level: LogLevel;
  readonly service: string;
  readonly body: string;
  /** 32 hexadecimal digits, when the record belongs to a trace. */
  readonly traceId?: string;
  readonly spanId?: string;
  readonly attributes?: Attributes;
}

/** A stored record; ids grow in the order of arrival. */
export interface StoredLog extends LogRecord {
  readonly id: number;
}

/** Options of {@link LogStore}. */
export interface LogStoreOptions {
  /** Directory for `logs.db`; it must exist. Default: memory only. */
  readonly directory?: string;
  readonly clock?: Clock;
  /** Records older than this are removed, in milliseconds. Default 7 days. */
  readonly retentionMs?: number;
  /** Most records; the oldest go first. Default 1,000,000. */
  readonly maxRecords?: number;
  /** Fsync each commit. Default true. */
  readonly fsync?: boolean;
}

/** Which records a search answers. */
export interface LogQuery {
  /** `level:error service:orders "connection refused" -timeout`; default everything. See {@link parseLogSearch}. */
  readonly search?: string;
  /** From this time, in milliseconds, included. */
  readonly from?: number;
  /** Up to this time, included. */
  readonly to?: number;
  /** Most records, newest first. Default 100, at most 10,000. */
  readonly limit?: number;
  /** Only records with an id below this: the smallest of the page before, to go on. */
  readonly before?: number;
  /** Only records with an id above this, oldest first: to follow the log. */
  readonly after?: number;
}
