// What goes into and comes out of the trace store.

import type { Clock } from '@heptad/core';
import type { Attributes } from '../ingest/otlp-model.ts';

/** The side of a call that a span describes. */
export type SpanKind = 'internal' | 'server' | 'client' | 'producer' | 'consumer';

/** A finished span. */
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly service: string;
  readonly name: string;
  readonly kind: SpanKind;
  /** Milliseconds since 1970, with microseconds as fraction. */
  readonly startedAt: number;
  readonly durationMs: number;
  readonly status: 'unset' | 'ok' | 'error';
  readonly statusMessage?: string;
  readonly attributes: Attributes;
  readonly events: readonly { readonly at: number; readonly name: string; readonly attributes: Attributes }[];
  readonly links: readonly {
    readonly traceId: string;
    readonly spanId: string;
    readonly attributes: Attributes;
  }[];
}

/** A span with the spans it caused, in the order of their start. */
export interface SpanNode extends Span {
  readonly children: readonly SpanNode[];
}

/** A whole trace. */
export interface Trace {
  readonly traceId: string;
  readonly startedAt: number;
  readonly durationMs: number;
  readonly services: readonly string[];
  readonly spanCount: number;
  readonly errorCount: number;
  /** Usually one; more when a parent was never received. */
  readonly roots: readonly SpanNode[];
}

/** A line of a list of traces. */
export interface TraceSummary {
  readonly traceId: string;
  readonly startedAt: number;
  readonly durationMs: number;
  readonly rootService: string;
  readonly rootName: string;
  readonly spanCount: number;
  readonly errorCount: number;
}

/** Which traces a search answers. */
export interface TraceQuery {
  /** Only traces with a span of this service. */
  readonly service?: string;
  /** Only traces with a span of this name. */
  readonly name?: string;
  readonly minDurationMs?: number;
  /** Only traces with a span in error. */
  readonly errorsOnly?: boolean;
  readonly from?: number;
  readonly to?: number;
  /** Default 50, at most 1,000; newest first. */
  readonly limit?: number;
}

/** A line of the service map: one service calling another. */
export interface ServiceCall {
  readonly client: string;
  readonly server: string;
  readonly calls: number;
  readonly errors: number;
  readonly meanDurationMs: number;
}

/** Options of {@link TraceStore}. */
export interface TraceStoreOptions {
  /** Directory for `traces.db`; it must exist. Default: memory only. */
  readonly directory?: string;
  readonly clock?: Clock;
  /** Spans that ended longer ago are removed, in milliseconds. Default 3 days. */
  readonly retentionMs?: number;
  /** Most spans; the oldest go first. Default 1,000,000. */
  readonly maxSpans?: number;
  /** Fsync each commit. Default true. */
  readonly fsync?: boolean;
}
