// Decodes OTLP metrics from protobuf.

// Source: opentelemetry-proto v1, metrics.proto. Numbers are field numbers.

import type {
  Attributes,
  ExponentialBuckets,
  ExponentialPoint,
  HistogramPoint,
  MetricData,
  NumberPoint,
  OtlpMetric,
  SummaryPoint,
  Temporality,
} from './otlp-model.ts';
import { decodeAttribute } from './otlp-protobuf.ts';
import type { ProtobufReader } from './protobuf.ts';

/** Bit 0 of a point's flags: "no recorded value". */
const ABSENT = 1;

/** AggregationTemporality from its number. */
export function temporalityOf(value: number): Temporality {
  return value === 1 ? 'delta' : value === 2 ? 'cumulative' : 'unspecified';
}

/** Reads a Metric. */
export function decodeMetric(reader: ProtobufReader): OtlpMetric {
  let name = '';
  let description = '';
  let unit = '';
  let data: MetricData = { kind: 'none' };
  reader.fields((field) => {
    if (field === 1) name = reader.text();
    else if (field === 2) description = reader.text();
    else if (field === 3) unit = reader.text();
    else if (field === 5) data = { kind: 'gauge', ...points(reader.message(), numberPoint) };
    else if (field === 7) data = { kind: 'sum', ...points(reader.message(), numberPoint) };
    else if (field === 9) data = { kind: 'histogram', ...points(reader.message(), histogramPoint) };
    else if (field === 10) data = { kind: 'exponential', ...points(reader.message(), exponentialPoint) };
    else if (field === 11) data = { kind: 'summary', ...points(reader.message(), summaryPoint) };
    else reader.skip();
  });
  return { name, description, unit, data };
}

function points<P>(
  reader: ProtobufReader,
  point: (reader: ProtobufReader) => P,
): { points: P[]; temporality: Temporality; monotonic: boolean } {
  const out: P[] = [];
  let temporality: Temporality = 'unspecified';
  let monotonic = false;
  reader.fields((field) => {
    if (field === 1) out.push(point(reader.message()));
    else if (field === 2) temporality = temporalityOf(reader.uint());
    else if (field === 3) monotonic = reader.uint() !== 0;
    else reader.skip();
  });
  return { points: out, temporality, monotonic };
}

interface CommonPoint {
  attributes: Attributes;
  startNanos: bigint;
  timeNanos: bigint;
  absent: boolean;
}

function common(): CommonPoint {
  return { attributes: {}, startNanos: 0n, timeNanos: 0n, absent: false };
}

/** Reads a field that all points share under the given numbers; answers whether it was one. */
function readCommon(
  reader: ProtobufReader,
  point: CommonPoint,
  field: number,
  attributes: number,
  flags: number,
): boolean {
  if (field === attributes) decodeAttribute(reader.message(), point.attributes);
  else if (field === 2) point.startNanos = reader.fixed64();
  else if (field === 3) point.timeNanos = reader.fixed64();
  else if (field === flags) point.absent = (reader.uint() & ABSENT) !== 0;
  else return false;
  return true;
}

function numberPoint(reader: ProtobufReader): NumberPoint {
  const point = { ...common(), value: 0 };
  reader.fields((field) => {
    if (readCommon(reader, point, field, 7, 8)) return;
    if (field === 4) point.value = reader.double();
    else if (field === 6) point.value = Number(reader.sfixed64());
    else reader.skip();
  });
  return point;
}

function histogramPoint(reader: ProtobufReader): HistogramPoint {
  const counts: number[] = [];
  const bounds: number[] = [];
  const point: CommonPoint & { count: number; sum: number | undefined } = {
    ...common(),
    count: 0,
    sum: undefined,
  };
  reader.fields((field) => {
    if (readCommon(reader, point, field, 9, 10)) return;
    if (field === 4) point.count = Number(reader.fixed64());
    else if (field === 5) point.sum = reader.double();
    else if (field === 6) reader.repeated(1, counts, (inner) => Number(inner.fixed64()));
    else if (field === 7) reader.repeated(1, bounds, (inner) => inner.double());
    else reader.skip();
  });
  return { ...point, counts, bounds };
}

function exponentialPoint(reader: ProtobufReader): ExponentialPoint {
  const none: ExponentialBuckets = { offset: 0, counts: [] };
  const point: CommonPoint & {
    count: number;
    sum: number | undefined;
    scale: number;
    zeroCount: number;
    positive: ExponentialBuckets;
    negative: ExponentialBuckets;
  } = { ...common(), count: 0, sum: undefined, scale: 0, zeroCount: 0, positive: none, negative: none };
  reader.fields((field) => {
    if (readCommon(reader, point, field, 1, 10)) return;
    if (field === 4) point.count = Number(reader.fixed64());
    else if (field === 5) point.sum = reader.double();
    else if (field === 6) point.scale = reader.zigzag();
    else if (field === 7) point.zeroCount = Number(reader.fixed64());
    else if (field === 8) point.positive = exponentialBuckets(reader.message());
    else if (field === 9) point.negative = exponentialBuckets(reader.message());
    else reader.skip();
  });
  return point;
}

function exponentialBuckets(reader: ProtobufReader): ExponentialBuckets {
  let offset = 0;
  const counts: number[] = [];
  reader.fields((field) => {
    if (field === 1) offset = reader.zigzag();
    else if (field === 2) reader.repeated(0, counts, (inner) => inner.uint());
    else reader.skip();
  });
  return { offset, counts };
}

function summaryPoint(reader: ProtobufReader): SummaryPoint {
  const quantiles: { quantile: number; value: number }[] = [];
  const point = { ...common(), count: 0, sum: 0 };
  reader.fields((field) => {
    if (readCommon(reader, point, field, 7, 8)) return;
    if (field === 4) point.count = Number(reader.fixed64());
    else if (field === 5) point.sum = reader.double();
    else if (field === 6) {
      const inner = reader.message();
      const entry = { quantile: 0, value: 0 };
      inner.fields((number) => {
        if (number === 1) entry.quantile = inner.double();
        else if (number === 2) entry.value = inner.double();
        else inner.skip();
      });
      quantiles.push(entry);
    } else reader.skip();
  });
  return { ...point, quantiles };
}
