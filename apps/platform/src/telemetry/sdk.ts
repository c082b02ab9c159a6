// The OpenTelemetry SDK of a platform process: metrics and traces go to the platform's own OTLP receiver.

import { context, metrics, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';

/** How often metrics leave the process: also the finest step of the console's charts. */
const EXPORT_INTERVAL_MS = 5_000;

/** Where telemetry goes and whose it is. */
export interface TelemetryOptions {
  /** `heptad-server`, `heptad-proxy`... */
  readonly service: string;
  readonly instance: string;
  /** Base URL of the OTLP/HTTP receiver. */
  readonly endpoint: string;
  readonly token: string;
}

/** Starts exporting; the answer flushes and stops. Losing the receiver loses telemetry, never traffic. */
export function startTelemetry(options: TelemetryOptions): { close(): Promise<void> } {
  const resource = resourceFromAttributes({
    'service.name': options.service,
    'service.instance.id': options.instance,
  });
  const headers = { authorization: `Bearer ${options.token}` };
  const meters = new MeterProvider({
    resource,
    readers: [
      new PeriodicExportingMetricReader({
        exportIntervalMillis: EXPORT_INTERVAL_MS,
        exportTimeoutMillis: EXPORT_INTERVAL_MS - 500,
        exporter: new OTLPMetricExporter({ url: `${options.endpoint}/v1/metrics`, headers }),
      }),
    ],
  });
  const tracers = new TracerProvider({
    resource,
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: new OTLPTraceExporter({ url: `${options.endpoint}/v1/traces`, headers }),
      }),
    ],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  metrics.setGlobalMeterProvider(meters);
  trace.setGlobalTracerProvider(tracers);
  return {
    close: async () => {
      await Promise.allSettled([meters.shutdown(), tracers.shutdown()]);
      // The global providers are set only once unless taken back, and a centre's agent begins anew with each promotion.
      for (const api of [context, propagation, metrics, trace]) api.disable();
    },
  };
}
