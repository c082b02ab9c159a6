// Who an alert is, over restarts and for receivers.

import { type Labels, labelKey, METRIC_NAME } from '../metrics/labels.ts';
import type { Alert, AlertRule } from './state.ts';

/** The labels of an alert: those of the element, the rule's, and what every receiver expects. */
export function alertLabels(rule: AlertRule, labels: Labels): Labels {
  const { [METRIC_NAME]: _, ...rest } = labels;
  return { ...rest, ...rule.labels, alertname: rule.name, severity: rule.severity ?? 'warning' };
}

/** FNV-1a, 64 bits as two halves: short, stable, and collisions among a few thousand alerts are out of reach. */
export function fingerprintOf(labels: Labels): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(labelKey(labels))) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash.toString(16).padStart(16, '0');
}

/** Alertmanager's webhook format, version 4, so that existing receivers understand it. */
export function webhookPayload(alert: Alert, receiver: string): unknown {
  const status = alert.state === 'resolved' ? 'resolved' : 'firing';
  const annotations = { summary: alert.summary };
  return {
    version: '4',
    groupKey: `{}:{alertname="${alert.rule}"}`,
    truncatedAlerts: 0,
    status,
    receiver,
    groupLabels: { alertname: alert.rule },
    commonLabels: alert.labels,
    commonAnnotations: annotations,
    externalURL: '',
    alerts: [
      {
        status,
        labels: alert.labels,
        annotations,
        startsAt: isoTime(alert.firedAt ?? alert.activeAt),
        endsAt: alert.resolvedAt === undefined ? '0001-01-01T00:00:00Z' : isoTime(alert.resolvedAt),
        generatorURL: '',
        fingerprint: alert.fingerprint,
        value: alert.value,
      },
    ],
  };
}

function isoTime(at: number): string {
  return new Date(at).toISOString();
}
