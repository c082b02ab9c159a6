// OTLP requests in either encoding to the model.

import type { BodyFormat } from './body.ts';
import { logOf, parseEnvelope, spanOf } from './otlp-json.ts';
import { metricOf } from './otlp-json-metrics.ts';
import type { OtlpLog, OtlpMetric, OtlpSpan, ResourceGroup } from './otlp-model.ts';
import { decodeEnvelope, decodeLog, decodeSpan } from './otlp-protobuf.ts';
import { decodeMetric } from './otlp-protobuf-metrics.ts';

/** The three kinds of telemetry. */
export type Signal = 'metrics' | 'logs' | 'traces';

const text = new TextDecoder();

/** Reads an ExportMetricsServiceRequest. Throws `INVALID_PAYLOAD`. */
export function readMetrics(body: Uint8Array, format: BodyFormat): ResourceGroup<OtlpMetric>[] {
  if (format === 'protobuf') return decodeEnvelope(body, decodeMetric);
  return parseEnvelope(
    text.decode(body),
    { resources: 'resourceMetrics', scopes: 'scopeMetrics', items: 'metrics' },
    metricOf,
  );
}

/** Reads an ExportLogsServiceRequest. Throws `INVALID_PAYLOAD`. */
export function readLogs(body: Uint8Array, format: BodyFormat): ResourceGroup<OtlpLog>[] {
  if (format === 'protobuf') return decodeEnvelope(body, decodeLog);
  return parseEnvelope(
    text.decode(body),
    { resources: 'resourceLogs', scopes: 'scopeLogs', items: 'logRecords' },
    logOf,
  );
}

/** Reads an ExportTraceServiceRequest. Throws `INVALID_PAYLOAD`. */
export function readSpans(body: Uint8Array, format: BodyFormat): ResourceGroup<OtlpSpan>[] {
  if (format === 'protobuf') return decodeEnvelope(body, decodeSpan);
  return parseEnvelope(
    text.decode(body),
    { resources: 'resourceSpans', scopes: 'scopeSpans', items: 'spans' },
    spanOf,
  );
}
