// Problem responses: the proxy's own answers, as RFC 9457 problem details that say what to do.

import { STATUS_CODES } from 'node:http';

/** Codes of the proxy's own answers. */
export type ProxyProblemCode =
  | 'BAD_REQUEST'
  | 'POLICY_DENIED'
  | 'NO_SUCH_SERVICE'
  | 'NO_ENDPOINT'
  | 'CIRCUIT_OPEN'
  | 'OVERLOADED'
  | 'UPSTREAM_UNREACHABLE'
  | 'UPSTREAM_CLOSED'
  | 'UPSTREAM_INVALID'
  | 'UPSTREAM_TIMEOUT'
  | 'CLIENT_TIMEOUT';

/** One of the proxy's own answers. */
export interface ProxyProblem {
  readonly status: number;
  readonly code: ProxyProblemCode;
  /** A sentence: what was being done, to what, why it failed. */
  readonly detail: string;
  /** What the reader can do. */
  readonly hint?: string;
  readonly retryAfterSeconds?: number;
}

/** The whole response as latin1-safe bytes. */
export function composeProblem(
  problem: ProxyProblem,
  options: { requestId: string | undefined; head: boolean; close: boolean },
): Buffer {
  const body = Buffer.from(
    JSON.stringify({
      type: `https://heptad.dev/problems/${problem.code.toLowerCase().replaceAll('_', '-')}`,
      title: STATUS_CODES[problem.status] ?? 'Error',
      status: problem.status,
      code: problem.code,
      detail: problem.detail,
      ...(problem.hint === undefined ? {} : { hint: problem.hint }),
      ...(options.requestId === undefined ? {} : { requestId: options.requestId }),
    }),
  );
  let head = `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? 'Error'}\r\n`;
  head += `content-type: application/problem+json\r\ncontent-length: ${body.length}\r\n`;
  head += `x-heptad-proxy: ${problem.code}\r\n`;
  if (problem.retryAfterSeconds !== undefined) head += `retry-after: ${problem.retryAfterSeconds}\r\n`;
  if (options.requestId !== undefined) head += `x-request-id: ${options.requestId}\r\n`;
  head += options.close ? 'connection: close\r\n\r\n' : '\r\n';
  const headBytes = Buffer.from(head, 'latin1');
  return options.head ? headBytes : Buffer.concat([headBytes, body]);
}
