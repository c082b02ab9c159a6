// OTLP messages as this package sees them, whichever encoding they came in.

/** A value of an attribute or log body, as plain JSON. */
export type AttributeValue =
  | string
  | number
  | boolean
  | null
  | AttributeValue[]
  | { [key: string]: AttributeValue };

/** Attributes by key. */
export type Attributes = Record<string, AttributeValue>;

/** A number data point. */
export interface NumberPoint {
  readonly attributes: Attributes;
  readonly startNanos: bigint;
  readonly timeNanos: bigint;
  readonly value: number;
  /** "No recorded value": the series ended. */
  readonly absent: boolean;
}

/** An explicit-bounds histogram data point. */
export interface HistogramPoint {
  readonly attributes: Attributes;
  readonly startNanos: bigint;
  readonly timeNanos: bigint;
  readonly count: number;
  readonly sum: number | undefined;
  /** One more than `bounds`; not cumulative. */
  readonly counts: readonly number[];
  readonly bounds: readonly number[];
  readonly absent: boolean;
}

/** Buckets of one sign of an exponential histogram. */
export interface ExponentialBuckets {
  readonly offset: number;
  readonly counts: readonly number[];
}

/** An exponential histogram data point. */
export interface ExponentialPoint {
  readonly attributes: Attributes;
  readonly startNanos: bigint;
  readonly timeNanos: bigint;
  readonly count: number;
  readonly sum: number | undefined;
  readonly scale: number;
  readonly zeroCount: number;
  readonly positive: ExponentialBuckets;
  readonly negative: ExponentialBuckets;
  readonly absent: boolean;
}

/** A summary data point. */
export interface SummaryPoint {
  readonly attributes: Attributes;
  readonly startNanos: bigint;
  readonly timeNanos: bigint;
  readonly count: number;
  readonly sum: number;
  readonly quantiles: readonly { readonly quantile: number; readonly value: number }[];
  readonly absent: boolean;
}

/** How points of a counter or histogram relate: each since the start, or each since the one before. */
export type Temporality = 'delta' | 'cumulative' | 'unspecified';

/** The data of a metric, by kind. */
export type MetricData =
  | { readonly kind: 'gauge'; readonly points: readonly NumberPoint[] }
  | {
      readonly kind: 'sum';
      readonly points: readonly NumberPoint[];
      readonly temporality: Temporality;
      readonly monotonic: boolean;
    }
  | {
      readonly kind: 'histogram';
      readonly points: readonly HistogramPoint[];
      readonly temporality: Temporality;
    }
  | {
      readonly kind: 'exponential';
      readonly points: readonly ExponentialPoint[];
      readonly temporality: Temporality;
    }
  | { readonly kind: 'summary'; readonly points: readonly SummaryPoint[] }
  | { readonly kind: 'none' };

/** A metric. */
export interface OtlpMetric {
  readonly name: string;
  readonly description: string;
  readonly unit: string;
  readonly data: MetricData;
}

/** A log record. */
export interface OtlpLog {
  readonly timeNanos: bigint;
  readonly observedNanos: bigint;
  readonly severityNumber: number;
  readonly severityText: string;
  readonly body: AttributeValue;
  readonly attributes: Attributes;
  readonly traceId: string;
  readonly spanId: string;
}

/** Something that happened inside a span. */
export interface OtlpSpanEvent {
  readonly timeNanos: bigint;
  readonly name: string;
  readonly attributes: Attributes;
}

/** A span. */
export interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  /** 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: number;
  readonly startNanos: bigint;
  readonly endNanos: bigint;
  readonly attributes: Attributes;
  readonly events: readonly OtlpSpanEvent[];
  readonly links: readonly {
    readonly traceId: string;
    readonly spanId: string;
    readonly attributes: Attributes;
  }[];
  /** 0 unset, 1 ok, 2 error. */
  readonly statusCode: number;
  readonly statusMessage: string;
}

/** What one resource (a process, mostly) sent. */
export interface ResourceGroup<T> {
  readonly resource: Attributes;
  /** Name of the instrumentation scope of each item is of no use to us and dropped. */
  readonly items: readonly T[];
}
