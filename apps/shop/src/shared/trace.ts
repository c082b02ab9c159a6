// W3C trace context: which request a request belongs to.

import { randomBytes } from 'node:crypto';

/** One hop of a trace. */
export interface Trace {
  readonly traceId: string;
  /** The header for the answer and for requests to other services. */
  readonly traceparent: string;
}

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** Goes on with the caller's trace, or begins one. */
export function continueTrace(header: string | undefined): Trace {
  const [, traceId, , flags = '01'] = TRACEPARENT.exec(header ?? '') ?? [];
  const valid = traceId !== undefined && !/^0+$/.test(traceId);
  const id = valid ? traceId : randomBytes(16).toString('hex');
  return { traceId: id, traceparent: `00-${id}-${randomBytes(8).toString('hex')}-${valid ? flags : '01'}` };
}
