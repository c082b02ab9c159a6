// AccessLogEntry: one line of the proxy's access log.

import type { Instant } from '@heptad/core';

/** One request, upgraded connection or TCP connection that has ended. */
export interface AccessLogEntry {
  /** When it began. */
  readonly at: Instant;
  readonly kind: 'http' | 'upgrade' | 'tcp';
  readonly service: string;
  readonly port: number;
  readonly sourceAddress: string;
  /** The calling service, when the source address is a known workload. */
  readonly source: string | undefined;
  readonly method: string | undefined;
  /** Path without the query, which may carry secrets. */
  readonly path: string | undefined;
  /** Status sent to the client; 0 when it got none. */
  readonly status: number;
  readonly durationMs: number;
  /** Endpoint of the last attempt. */
  readonly endpoint: string | undefined;
  readonly attempts: number;
  readonly requestId: string | undefined;
  readonly traceId: string | undefined;
  /** Code of what went wrong: `POLICY_DENIED`, `NO_ENDPOINT`, `UPSTREAM_CLOSED`... */
  readonly error: string | undefined;
}
