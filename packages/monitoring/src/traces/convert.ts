// OTLP spans to ours.

import { resourceLabels } from '../ingest/naming.ts';
import type { OtlpSpan, ResourceGroup } from '../ingest/otlp-model.ts';
import type { Span, SpanKind } from './trace-types.ts';

const KINDS: readonly (SpanKind | undefined)[] = [
  undefined,
  'internal',
  'server',
  'client',
  'producer',
  'consumer',
];
const TRACE_ID = /^(?!0+$)[0-9a-f]{32}$/;
const SPAN_ID = /^(?!0+$)[0-9a-f]{16}$/;

/** Nanoseconds to milliseconds with microseconds kept. */
function milliseconds(nanos: bigint): number {
  return Number(nanos / 1000n) / 1000;
}

/** Converts a request; spans without valid ids or times are counted out, with the reason. */
export function convertSpans(groups: readonly ResourceGroup<OtlpSpan>[]): {
  spans: Span[];
  refused: string[];
} {
  const spans: Span[] = [];
  const refused: string[] = [];
  for (const { resource, items } of groups) {
    const { identity } = resourceLabels(resource);
    const { service = 'unknown', ...where } = identity;
    for (const item of items) {
      const why = objection(item);
      if (why === undefined) spans.push(spanOf(item, service, where));
      else refused.push(why);
    }
  }
  return { spans, refused };
}

function objection(span: OtlpSpan): string | undefined {
  if (!TRACE_ID.test(span.traceId)) return `span "${span.name}" has no valid trace id`;
  if (!SPAN_ID.test(span.spanId)) return `span "${span.name}" has no valid span id`;
  if (span.startNanos === 0n) return `span "${span.name}" has no start time`;
  return undefined;
}

function spanOf(span: OtlpSpan, service: string, where: Readonly<Record<string, string>>): Span {
  const duration = span.endNanos > span.startNanos ? span.endNanos - span.startNanos : 0n;
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(SPAN_ID.test(span.parentSpanId) ? { parentSpanId: span.parentSpanId } : {}),
    service,
    name: span.name,
    kind: KINDS[span.kind] ?? 'internal',
    startedAt: milliseconds(span.startNanos),
    durationMs: Number(duration) / 1e6,
    status: span.statusCode === 2 ? 'error' : span.statusCode === 1 ? 'ok' : 'unset',
    ...(span.statusMessage === '' ? {} : { statusMessage: span.statusMessage }),
    attributes: { ...where, ...span.attributes },
    events: span.events.map(({ timeNanos, name, attributes }) => ({
      at: milliseconds(timeNanos),
      name,
      attributes,
    })),
    links: span.links,
  };
}
