// The stack's own health, as metrics: a monitor that is full or behind must say so.

import type { Alert } from './alert/state.ts';
import { METRIC_NAME } from './metrics/labels.ts';
import type { MetricMetadata, MetricStoreStats, Sample } from './metrics/store-types.ts';

/** Metrics about the stack at `at`. */
export function ownMetrics(
  stats: MetricStoreStats,
  logs: number,
  spans: number,
  alerts: readonly Alert[],
  at: number,
): { samples: Sample[]; metadata: Map<string, MetricMetadata> } {
  const samples: Sample[] = [];
  const metadata = new Map<string, MetricMetadata>();
  const add = (
    name: string,
    type: MetricMetadata['type'],
    help: string,
    value: number,
    labels = {},
  ): void => {
    const full = `heptad_monitoring_${name}`;
    metadata.set(full, { type, help, unit: '' });
    samples.push({ labels: { ...labels, [METRIC_NAME]: full }, at, value });
  };
  add('series', 'gauge', 'Series held.', stats.series);
  add('samples_appended_total', 'counter', 'Samples taken since the start.', stats.samplesAppended);
  add('samples_rejected_total', 'counter', 'Samples refused since the start.', stats.samplesRejected);
  add('log_samples', 'gauge', 'Durable samples not yet folded into chunks.', stats.samplesInLog);
  add('head_bytes', 'gauge', 'Compressed samples held in memory.', stats.headBytes);
  add('log_records', 'gauge', 'Log records held.', logs);
  add('spans', 'gauge', 'Spans held.', spans);
  for (const state of ['pending', 'firing'] as const) {
    const count = alerts.filter((alert) => alert.state === state).length;
    add('alerts', 'gauge', 'Open alerts.', count, { state });
  }
  return { samples, metadata };
}
