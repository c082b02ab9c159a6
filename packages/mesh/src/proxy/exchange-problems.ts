// What the proxy answers itself when a request cannot be served, in one place.

import type { ProxyProblem } from './problem.ts';
import type { UpstreamEndpoint } from './upstream-endpoint.ts';

/** A policy refuses the request. */
export function policyDenied(service: string, because: string): ProxyProblem {
  return {
    status: 403,
    code: 'POLICY_DENIED',
    detail: `the request to service ${service} is refused: ${because}`,
    hint: 'add a network policy rule that allows it, or see `heptad mesh policies`',
  };
}

/** The listener outlived its service by a moment. */
export function noSuchService(service: string, port: number): ProxyProblem {
  return {
    status: 503,
    code: 'NO_SUCH_SERVICE',
    detail: `service ${service} on port ${port} no longer exists`,
  };
}

/** Breakers of all endpoints are open. */
export function circuitOpen(service: string, retryAfterMs: number): ProxyProblem {
  return {
    status: 503,
    code: 'CIRCUIT_OPEN',
    detail: `every endpoint of service ${service} keeps failing, so none is called now`,
    hint: `see \`heptad logs ${service}\``,
    retryAfterSeconds: Math.max(1, Math.ceil(retryAfterMs / 1_000)),
  };
}

/** No ready endpoint came in time. */
export function noEndpoint(service: string, version: string | undefined): ProxyProblem {
  const which = version === undefined ? '' : ` of version ${version}, which a traffic rule asks for`;
  return {
    status: 503,
    code: 'NO_ENDPOINT',
    detail: `service ${service} has no ready endpoint${which}`,
    hint: `see \`heptad ps ${service}\``,
    retryAfterSeconds: 1,
  };
}

/** The endpoint's connection limit is reached. */
export function overloaded(endpoint: UpstreamEndpoint): ProxyProblem {
  return {
    status: 503,
    code: 'OVERLOADED',
    detail: `endpoint ${endpoint.id} of service ${endpoint.service} has too many requests in flight`,
    retryAfterSeconds: 1,
  };
}

/** The last attempt brought no byte of an answer. */
export function attemptFailed(
  endpoint: UpstreamEndpoint,
  port: number,
  attempt: {
    readonly count: number;
    readonly unsent: boolean;
    readonly idempotent: boolean;
    readonly reason: string;
  },
): ProxyProblem {
  const { count, unsent, idempotent, reason } = attempt;
  const where = `endpoint ${endpoint.id} (${endpoint.address}:${port}) of service ${endpoint.service}`;
  return {
    status: 502,
    code: unsent ? 'UPSTREAM_UNREACHABLE' : 'UPSTREAM_CLOSED',
    detail: `${where} failed after ${count} attempt${count === 1 ? '' : 's'}: ${reason}`,
    hint: idempotent || unsent ? 'try again' : 'the request may have taken effect: check before repeating it',
  };
}

/** Codes of answers that began badly or never came. */
export type BrokenAnswerCode = 'UPSTREAM_INVALID' | 'UPSTREAM_CLOSED' | 'UPSTREAM_TIMEOUT';

/** The answer is broken or did not come in time. */
export function brokenAnswer(endpoint: UpstreamEndpoint, code: BrokenAnswerCode, what: string): ProxyProblem {
  return {
    status: code === 'UPSTREAM_TIMEOUT' ? 504 : 502,
    code,
    detail: `endpoint ${endpoint.id} of service ${endpoint.service} ${what}`,
  };
}
