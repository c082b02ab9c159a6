// Spans through the OpenTelemetry API, or plain W3C headers when no SDK is registered.

import { context, type Span, type SpanKind, trace } from '@opentelemetry/api';
import { currentTraceparent } from './current-trace.ts';
import { formatTraceparent, newTraceparent, parseTraceparent, type TraceParent } from './trace-context.ts';

const TRACER = '@heptad/mesh';

/** A request's place in its trace. */
export interface TracedRequest {
  /** The header to send on. */
  readonly traceparent: string;
  readonly traceId: string;
  /** The span, when an SDK records; end it. */
  readonly span: Span | undefined;
}

/**
 * Continues the trace of an incoming `traceparent` (or of the active span, when there is no header). With an SDK
 * registered a new span is made; without one a valid header is passed on unchanged, as W3C asks of parts that do not
 * take part, and a missing one is generated so that the parts behind share a trace.
 */
export function traceRequest(name: string, kind: SpanKind, incoming: string | undefined): TracedRequest {
  // An active span of an SDK knows best; without one, the request being served here is the parent.
  const active = trace.getSpan(context.active()) !== undefined;
  const parent = parseTraceparent(incoming ?? (active ? undefined : currentTraceparent()));
  const base =
    parent === undefined ? context.active() : trace.setSpanContext(context.active(), remote(parent));
  const span = trace.getTracer(TRACER).startSpan(name, { kind }, base);
  const own = span.spanContext();
  if (trace.isSpanContextValid(own)) {
    const made = own.spanId !== parent?.spanId;
    const traceparent = { traceId: own.traceId, spanId: own.spanId, flags: own.traceFlags };
    return {
      traceparent: formatTraceparent(traceparent),
      traceId: own.traceId,
      span: made ? span : undefined,
    };
  }
  const generated = newTraceparent();
  return { traceparent: formatTraceparent(generated), traceId: generated.traceId, span: undefined };
}

function remote(parent: TraceParent): {
  traceId: string;
  spanId: string;
  traceFlags: number;
  isRemote: true;
} {
  return { traceId: parent.traceId, spanId: parent.spanId, traceFlags: parent.flags, isRemote: true };
}
