// OTLP metric points to samples: histograms to buckets, delta to cumulative.

import { type Labels, METRIC_NAME } from '../metrics/labels.ts';
import { STALE_NAN } from '../metrics/stale.ts';
import type { MetricMetadata, Sample } from '../metrics/store-types.ts';
import { formatValue } from '../query/value.ts';
import type { DeltaAccumulator } from './delta.ts';
import { exponentialToExplicit } from './exponential.ts';
import { pointLabels, prometheusName, resourceLabels } from './naming.ts';
import type {
  HistogramPoint,
  NumberPoint,
  OtlpMetric,
  ResourceGroup,
  SummaryPoint,
  Temporality,
} from './otlp-model.ts';

/** What came out of a request. */
export interface ConvertedMetrics {
  readonly samples: Sample[];
  readonly metadata: Map<string, MetricMetadata>;
  /** Points that say nothing we can store, with the reason. */
  readonly refused: string[];
}

/** Converts a request. `deltas` carries the running totals of delta points from request to request. */
export function convertMetrics(
  groups: readonly ResourceGroup<OtlpMetric>[],
  deltas: DeltaAccumulator,
): ConvertedMetrics {
  const out: ConvertedMetrics = { samples: [], metadata: new Map(), refused: [] };
  for (const { resource, items } of groups) {
    const { identity, info } = resourceLabels(resource);
    const conversion = new Conversion(out, identity, deltas);
    for (const metric of items) conversion.metric(metric);
    if (Object.keys(info).length > Object.keys(identity).length) conversion.targetInfo(info);
  }
  return out;
}

class Conversion {
  readonly #out: ConvertedMetrics;
  readonly #identity: Labels;
  readonly #deltas: DeltaAccumulator;
  #latest = 0;

  constructor(out: ConvertedMetrics, identity: Labels, deltas: DeltaAccumulator) {
    this.#out = out;
    this.#identity = identity;
    this.#deltas = deltas;
  }

  metric(metric: OtlpMetric): void {
    const { data, unit } = metric;
    if (metric.name === '') {
      this.#refuse('a metric has no name');
      return;
    }
    switch (data.kind) {
      case 'none':
        this.#refuse(`metric ${metric.name} has no data`);
        break;
      case 'gauge':
        this.#numbers(metric, prometheusName(metric.name, unit, 'gauge'), 'gauge', data.points, 'cumulative');
        break;
      case 'sum': {
        // A sum that can go down is a gauge to Prometheus.
        const type = data.monotonic ? 'counter' : 'gauge';
        const name = prometheusName(metric.name, unit, data.monotonic ? 'counter' : 'other');
        this.#numbers(metric, name, type, data.points, data.temporality);
        break;
      }
      case 'histogram':
        this.#histograms(metric, data.points, data.temporality);
        break;
      case 'exponential':
        this.#histograms(metric, data.points.map(exponentialToExplicit), data.temporality);
        break;
      case 'summary':
        this.#summaries(metric, data.points);
        break;
    }
  }

  /** The resource's remaining attributes, for joins, at the time of its newest point. */
  targetInfo(info: Labels): void {
    if (this.#latest === 0) return;
    this.#describe('target_info', 'gauge', 'Attributes of the resource', '');
    this.#out.samples.push({ labels: { ...info, [METRIC_NAME]: 'target_info' }, at: this.#latest, value: 1 });
  }

  #numbers(
    metric: OtlpMetric,
    name: string,
    type: 'counter' | 'gauge',
    points: readonly NumberPoint[],
    temporality: Temporality,
  ): void {
    if (temporality === 'unspecified') {
      this.#refuse(`metric ${metric.name} has no aggregation temporality`, points.length);
      return;
    }
    this.#describe(name, type, metric.description, metric.unit);
    for (const point of points) {
      const labels = this.#labels(point, name);
      const value = temporality === 'delta' ? this.#deltas.add(labels, point, point.value) : point.value;
      if (value !== undefined) this.#push(labels, point, value);
    }
  }

  #histograms(metric: OtlpMetric, points: readonly HistogramPoint[], temporality: Temporality): void {
    const name = prometheusName(metric.name, metric.unit, 'other');
    if (temporality === 'unspecified') {
      this.#refuse(`metric ${metric.name} has no aggregation temporality`, points.length);
      return;
    }
    this.#describe(name, 'histogram', metric.description, metric.unit);
    for (const point of points) {
      if (point.counts.length > 0 && point.counts.length !== point.bounds.length + 1) {
        this.#refuse(
          `histogram ${metric.name} has ${point.counts.length} counts for ${point.bounds.length} bounds`,
        );
        continue;
      }
      const push = (suffix: string, extra: Labels, value: number): void => {
        const labels = { ...this.#labels(point, `${name}${suffix}`), ...extra };
        const total = temporality === 'delta' ? this.#deltas.add(labels, point, value) : value;
        if (total !== undefined) this.#push(labels, point, total);
      };
      let cumulative = 0;
      point.bounds.forEach((bound, index) => {
        cumulative += point.counts[index] ?? 0;
        push('_bucket', { le: formatValue(bound) }, cumulative);
      });
      push('_bucket', { le: '+Inf' }, point.count);
      push('_count', {}, point.count);
      if (point.sum !== undefined) push('_sum', {}, point.sum);
    }
  }

  #summaries(metric: OtlpMetric, points: readonly SummaryPoint[]): void {
    const name = prometheusName(metric.name, metric.unit, 'other');
    this.#describe(name, 'summary', metric.description, metric.unit);
    for (const point of points) {
      for (const { quantile, value } of point.quantiles) {
        this.#push({ ...this.#labels(point, name), quantile: formatValue(quantile) }, point, value);
      }
      this.#push(this.#labels(point, `${name}_count`), point, point.count);
      this.#push(this.#labels(point, `${name}_sum`), point, point.sum);
    }
  }

  #labels(point: { readonly attributes: NumberPoint['attributes'] }, name: string): Labels {
    return { ...pointLabels(point.attributes, this.#identity), [METRIC_NAME]: name };
  }

  #push(
    labels: Labels,
    point: { readonly timeNanos: bigint; readonly absent: boolean },
    value: number,
  ): void {
    const at = Number(point.timeNanos / 1_000_000n);
    this.#latest = Math.max(this.#latest, at);
    this.#out.samples.push({ labels, at, value: point.absent ? STALE_NAN : value });
  }

  #describe(name: string, type: MetricMetadata['type'], help: string, unit: string): void {
    this.#out.metadata.set(name, { type, help, unit });
  }

  #refuse(why: string, points = 1): void {
    for (let count = 0; count < Math.max(1, points); count++) this.#out.refused.push(why);
  }
}
