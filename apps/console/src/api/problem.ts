// What went wrong, as the server said it (RFC 9457) or as the browser saw it.

/** A failed request. */
export class ProblemError extends Error {
  readonly title: string;
  readonly detail: string;
  readonly code: string;
  /** 0 when there was no answer at all. */
  readonly status: number;
  readonly hint: string | undefined;

  constructor(problem: {
    title: string;
    detail: string;
    code: string;
    status: number;
    hint?: string | undefined;
  }) {
    super(problem.detail);
    this.name = 'ProblemError';
    this.title = problem.title;
    this.detail = problem.detail;
    this.code = problem.code;
    this.status = problem.status;
    this.hint = problem.hint;
  }
}

/** A body that claims to be problem details, or any other answer, as a {@link ProblemError}. */
export function problemFrom(status: number, body: unknown): ProblemError {
  const text = (key: string): string | undefined => {
    if (typeof body !== 'object' || body === null || !(key in body)) return undefined;
    const value: unknown = Reflect.get(body, key);
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  return new ProblemError({
    title: text('title') ?? `The server answered ${status}`,
    detail: text('detail') ?? text('message') ?? 'It did not say why.',
    code: text('code') ?? 'UNKNOWN',
    status,
    hint: text('hint'),
  });
}

/** Any thrown value. A network failure has no more to say than that. */
export function toProblemError(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error;
  return new ProblemError({
    title: 'The platform does not answer',
    detail: error instanceof Error ? error.message : String(error),
    code: 'NETWORK',
    status: 0,
    hint: 'It may be restarting: services go on running meanwhile. This page keeps trying.',
  });
}
