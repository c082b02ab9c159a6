// Errors as RFC 9457 problem details: one table from code to HTTP status.

import { errorMessage, type HeptadError, isHeptadError } from '@heptad/core';

/** What a client gets as `application/problem+json`. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly hint?: string;
  readonly retryable: boolean;
  readonly details?: Readonly<Record<string, unknown>>;
}

const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  INVALID_RESOURCE: 400,
  INVALID_QUANTITY: 400,
  INVALID_SERVICE: 400,
  WEAK_PASSWORD: 400,
  INVALID_QUERY: 400,
  INVALID_EXPERIMENT: 400,
  INVALID_RANGE: 400,
  INVALID_REFERENCE: 400,
  INVALID_CONSTRAINT: 400,
  INVALID_JSON: 400,
  INVALID_PAYLOAD: 400,
  TOO_MANY_OPERATIONS: 400,
  DUPLICATE_KEY: 400,
  FUTURE_REVISION: 400,
  QUERY_TOO_EXPENSIVE: 400,
  COMPOSE_INVALID: 400,
  UNAUTHENTICATED: 401,
  AUTHENTICATION_FAILED: 401,
  TOKEN_INVALID: 401,
  TOKEN_EXPIRED: 401,
  TOKEN_REUSED: 401,
  FORBIDDEN: 403,
  ACCESS_DENIED: 403,
  POLICY_VIOLATION: 403,
  POLICY_DENIED: 403,
  NOT_FOUND: 404,
  CONTAINER_NOT_FOUND: 404,
  OBJECT_NOT_FOUND: 404,
  KEY_NOT_FOUND: 404,
  REPORT_NOT_FOUND: 404,
  TARGET_NOT_FOUND: 404,
  IMAGE_NOT_FOUND: 404,
  NODE_NOT_FOUND: 404,
  NETWORK_NOT_FOUND: 404,
  LEASE_NOT_FOUND: 404,
  UNKNOWN_CENTER: 404,
  METHOD_NOT_ALLOWED: 405,
  REVISION_CONFLICT: 409,
  NAME_IN_USE: 409,
  USER_EXISTS: 409,
  KEY_EXISTS: 409,
  LAST_ADMIN: 409,
  CONFLICT: 409,
  NO_REVISION: 409,
  EXPERIMENT_RUNNING: 409,
  ROLLOUT_FAILED: 409,
  PORT_IN_USE: 409,
  ILLEGAL_TRANSITION: 409,
  OBJECT_CHANGED: 409,
  UNKNOWN_OUTCOME: 409,
  BACKUP_BEHIND: 409,
  NOT_ELECTED: 409,
  SWITCHOVER_FAILED: 409,
  FORCE_NOT_ALLOWED: 409,
  IDEMPOTENCY_KEY_BUSY: 409,
  COMPACTED: 410,
  PRECONDITION_FAILED: 412,
  REQUEST_TOO_LARGE: 413,
  BODY_TOO_LARGE: 413,
  PAYLOAD_TOO_LARGE: 413,
  OBJECT_TOO_LARGE: 413,
  EVENT_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  IDEMPOTENCY_KEY_REUSED: 422,
  RATE_LIMITED: 429,
  TOO_MANY_ATTEMPTS: 429,
  NOT_SUPPORTED: 501,
  NO_CLIENT: 502,
  BAD_RESPONSE: 502,
  CALL_FAILED: 502,
  CONNECTION_FAILED: 502,
  CONNECTION_BROKEN: 502,
  INSUFFICIENT_SPACE: 507,
  NO_SPACE: 507,
  DISK_FULL: 507,
  NOT_PRIMARY: 503,
  NO_PRIMARY: 503,
  UNAVAILABLE: 503,
  TOO_BUSY: 503,
  BUSY: 503,
  OVERLOADED: 503,
  STORE_CLOSED: 503,
  NO_ENDPOINT: 503,
  CIRCUIT_OPEN: 503,
  BULKHEAD_FULL: 503,
  NODE_UNREACHABLE: 503,
  UNREACHABLE: 503,
  LAYOUT_UNAVAILABLE: 503,
  AUDIT_OVERLOADED: 503,
  AUDIT_FAILED: 503,
  WRITE_FAILED: 503,
  READ_FAILED: 503,
  TIMEOUT: 504,
  NODE_TIMEOUT: 504,
};

/** What to do when the error itself does not say. */
const HINT_OF_STATUS: Readonly<Record<number, string>> = {
  400: 'compare it with /openapi.json',
  401: 'log in again: POST /api/v1/auth/login',
  403: 'ask an administrator',
  404: 'list what there is and compare the name',
  409: 'read what is there now and decide anew',
  500: 'look into the log of the server',
  503: 'try again shortly; heptad status says what is missing',
  504: 'try again; heptad status says what is slow',
};

function titleOf(code: string): string {
  const words = code.toLowerCase().replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function problemOfHeptadError(error: HeptadError): Problem {
  const status = STATUS_OF_CODE[error.code] ?? 500;
  const hint = error.hint ?? HINT_OF_STATUS[status];
  return {
    type: `https://heptad.dev/errors/${error.code}`,
    title: titleOf(error.code),
    status,
    detail: error.message,
    code: error.code,
    retryable: error.retryable,
    ...(hint === undefined ? {} : { hint }),
    ...(Object.keys(error.details).length === 0 ? {} : { details: error.details }),
  };
}

interface ValidationIssue {
  readonly instancePath?: string;
  readonly message?: string;
}

/** Which part of the request was not valid: body, querystring, params or headers. */
function validatedPart(error: unknown): string {
  return typeof error === 'object' && error !== null && 'validationContext' in error
    ? String(error.validationContext)
    : 'body';
}

function validationIssues(error: unknown): readonly ValidationIssue[] | undefined {
  if (
    typeof error !== 'object' ||
    error === null ||
    !('validation' in error) ||
    !Array.isArray(error.validation)
  )
    return undefined;
  return error.validation;
}

/** A conflict about a revision that the request itself demanded (`If-Match`) is a failed precondition (RFC 9110). */
export function withPrecondition(problem: Problem, demanded: boolean): Problem {
  return demanded && problem.code === 'REVISION_CONFLICT' ? { ...problem, status: 412 } : problem;
}

/** Any thrown value as a problem. What we did not foresee is a 500 without internals in it. */
export function toProblem(error: unknown): Problem {
  if (isHeptadError(error)) return problemOfHeptadError(error);
  const issues = validationIssues(error);
  if (issues !== undefined) {
    const problems = issues.map(
      (issue) => `${validatedPart(error)}${issue.instancePath ?? ''}: ${issue.message ?? 'invalid'}`,
    );
    return {
      type: 'https://heptad.dev/errors/INVALID_ARGUMENT',
      title: 'Invalid argument',
      status: 400,
      detail: `the request is not valid: ${problems.join('; ')}`,
      code: 'INVALID_ARGUMENT',
      retryable: false,
      hint: 'compare it with /openapi.json',
      details: { problems },
    };
  }
  // Fastify's own refusals (no such route, body too large, bad JSON) carry their status.
  const status =
    typeof error === 'object' && error !== null && 'statusCode' in error ? Number(error.statusCode) : 500;
  const own = status >= 400 && status < 500;
  return {
    type: 'about:blank',
    title: own ? 'Bad request' : 'Internal error',
    status: own ? status : 500,
    detail: own ? errorMessage(error) : 'the server failed to handle this request; its log says why',
    code: own ? 'BAD_REQUEST' : 'INTERNAL',
    retryable: false,
    hint: own
      ? 'compare it with /openapi.json'
      : 'look into the log of the server: heptad status says where it is',
  };
}
