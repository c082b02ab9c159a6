// Decodes OTLP metrics from JSON.

import {
  attributesField,
  type JsonObject,
  listField,
  nanosField,
  numberField,
  numbersField,
  objectField,
  textField,
} from './otlp-json.ts';
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
import { temporalityOf } from './otlp-protobuf-metrics.ts';

/** Reads a Metric. */
export function metricOf(source: JsonObject): OtlpMetric {
  return {
    name: textField(source, 'name'),
    description: textField(source, 'description'),
    unit: textField(source, 'unit'),
    data: dataOf(source),
  };
}

function dataOf(source: JsonObject): MetricData {
  if ('gauge' in source)
    return { kind: 'gauge', points: pointsOf(objectField(source, 'gauge'), numberPoint) };
  if ('sum' in source) {
    const sum = objectField(source, 'sum');
    const monotonic = sum.isMonotonic === true;
    return { kind: 'sum', points: pointsOf(sum, numberPoint), temporality: temporality(sum), monotonic };
  }
  if ('histogram' in source) {
    const histogram = objectField(source, 'histogram');
    return {
      kind: 'histogram',
      points: pointsOf(histogram, histogramPoint),
      temporality: temporality(histogram),
    };
  }
  if ('exponentialHistogram' in source) {
    const histogram = objectField(source, 'exponentialHistogram');
    return {
      kind: 'exponential',
      points: pointsOf(histogram, exponentialPoint),
      temporality: temporality(histogram),
    };
  }
  if ('summary' in source)
    return { kind: 'summary', points: pointsOf(objectField(source, 'summary'), summaryPoint) };
  return { kind: 'none' };
}

function pointsOf<P>(source: JsonObject, point: (source: JsonObject) => P): P[] {
  return listField(source, 'dataPoints').map(point);
}

function temporality(source: JsonObject): Temporality {
  const value = source.aggregationTemporality;
  if (value === 'AGGREGATION_TEMPORALITY_DELTA') return 'delta';
  if (value === 'AGGREGATION_TEMPORALITY_CUMULATIVE') return 'cumulative';
  return temporalityOf(numberField(source, 'aggregationTemporality'));
}

function common(source: JsonObject): {
  attributes: Attributes;
  startNanos: bigint;
  timeNanos: bigint;
  absent: boolean;
} {
  return {
    attributes: attributesField(source),
    startNanos: nanosField(source, 'startTimeUnixNano'),
    timeNanos: nanosField(source, 'timeUnixNano'),
    absent: (numberField(source, 'flags') & 1) !== 0,
  };
}

function numberPoint(source: JsonObject): NumberPoint {
  return { ...common(source), value: numberField(source, 'asInt' in source ? 'asInt' : 'asDouble') };
}

function optionalSum(source: JsonObject): number | undefined {
  return source.sum === undefined ? undefined : numberField(source, 'sum');
}

function histogramPoint(source: JsonObject): HistogramPoint {
  return {
    ...common(source),
    count: numberField(source, 'count'),
    sum: optionalSum(source),
    counts: numbersField(source, 'bucketCounts'),
    bounds: numbersField(source, 'explicitBounds'),
  };
}

function exponentialPoint(source: JsonObject): ExponentialPoint {
  return {
    ...common(source),
    count: numberField(source, 'count'),
    sum: optionalSum(source),
    scale: numberField(source, 'scale'),
    zeroCount: numberField(source, 'zeroCount'),
    positive: buckets(objectField(source, 'positive')),
    negative: buckets(objectField(source, 'negative')),
  };
}

function buckets(source: JsonObject): ExponentialBuckets {
  return { offset: numberField(source, 'offset'), counts: numbersField(source, 'bucketCounts') };
}

function summaryPoint(source: JsonObject): SummaryPoint {
  return {
    ...common(source),
    count: numberField(source, 'count'),
    sum: numberField(source, 'sum'),
    quantiles: listField(source, 'quantileValues').map((entry) => ({
      quantile: numberField(entry, 'quantile'),
      value: numberField(entry, 'value'),
    })),
  };
}
