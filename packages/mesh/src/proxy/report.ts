// reportExchange: what is told of a request when it is over: span, metrics, access log.

import { SpanStatusCode } from '@opentelemetry/api';
import type { ProxyContext } from './context.ts';
import type { DownstreamConnection } from './downstream-connection.ts';
import type { Exchange } from './exchange.ts';
import type { ServiceCluster } from './service-cluster.ts';

/** Reports a request that is over. */
export function reportExchange(
  exchange: Exchange,
  owner: DownstreamConnection,
  context: ProxyContext,
  cluster: ServiceCluster | undefined,
  error: string | undefined,
): void {
  const { head, status, trace } = exchange;
  const { service, port } = owner.binding;
  const durationMs = context.clock.monotonicMs() - exchange.beganMs;
  // The client's own mistakes and departures are not errors of the service.
  const clientFault = error === 'CLIENT_CLOSED' || error === 'BAD_REQUEST' || error === 'POLICY_DENIED';
  const errorType = clientFault ? undefined : (error ?? (status >= 500 ? String(status) : undefined));
  if (cluster !== undefined) {
    cluster.requests += 1;
    if (errorType !== undefined) cluster.errors += 1;
  }
  context.metrics.record({
    service,
    method: head.method,
    status,
    durationMs,
    ...(errorType === undefined ? {} : { errorType }),
  });
  if (trace.span !== undefined) {
    trace.span.setAttributes({
      'http.request.method': head.method,
      'url.path': head.path,
      'server.address': service,
      'server.port': port,
      'http.response.status_code': status,
      'heptad.endpoint': exchange.endpointId ?? '',
      'http.request.resend_count': Math.max(0, exchange.attempts - 1),
    });
    if (errorType !== undefined) trace.span.setStatus({ code: SpanStatusCode.ERROR, message: errorType });
    trace.span.end();
  }
  if (context.onAccess === undefined) return;
  const { caller } = owner.party();
  context.onAccess({
    at: exchange.beganAt,
    kind: status === 101 ? 'upgrade' : 'http',
    service,
    port,
    sourceAddress: caller.address ?? owner.address,
    source: caller.service,
    method: head.method,
    path: head.path,
    status,
    durationMs,
    endpoint: exchange.endpointId,
    attempts: exchange.attempts,
    requestId: exchange.requestId,
    traceId: trace.traceId,
    error,
  });
}
