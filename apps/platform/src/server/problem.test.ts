import { HeptadError } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { toProblem, withPrecondition } from './problem.ts';

describe('an error on purpose', () => {
  it('keeps its code, sentence, hint and details', () => {
    const error = new HeptadError('RATE_LIMITED', 'too many requests from ada', {
      hint: 'try again in 2 s',
      retryable: true,
      details: { retryAfterMs: 1_500 },
    });
    expect(toProblem(error)).toEqual({
      type: 'https://heptad.dev/errors/RATE_LIMITED',
      title: 'Rate limited',
      status: 429,
      detail: 'too many requests from ada',
      code: 'RATE_LIMITED',
      retryable: true,
      hint: 'try again in 2 s',
      details: { retryAfterMs: 1_500 },
    });
  });

  it.each([
    ['INVALID_RESOURCE', 400],
    ['TOKEN_EXPIRED', 401],
    ['FORBIDDEN', 403],
    ['NOT_FOUND', 404],
    ['REVISION_CONFLICT', 409],
    ['PRECONDITION_FAILED', 412],
    ['UNAVAILABLE', 503],
    ['TIMEOUT', 504],
    ['SOMETHING_NEW', 500],
  ])('%s is %i', (code, status) => {
    expect(toProblem(new HeptadError(code, 'x')).status).toBe(status);
  });

  it('is a failed precondition when the request demanded the revision', () => {
    const conflict = toProblem(new HeptadError('REVISION_CONFLICT', 'it is at revision 3, not 2'));
    expect(withPrecondition(conflict, true)).toMatchObject({ status: 412, code: 'REVISION_CONFLICT' });
    expect(withPrecondition(conflict, false).status).toBe(409);
    expect(withPrecondition(toProblem(new HeptadError('NAME_IN_USE', 'x')), true).status).toBe(409);
  });
});

describe('what was not foreseen', () => {
  it('is a 500 that shows nothing of the inside', () => {
    const problem = toProblem(new TypeError('password hunter2 of undefined'));
    expect(problem).toMatchObject({ status: 500, code: 'INTERNAL', retryable: false });
    expect(problem.hint).toBeDefined();
    expect(JSON.stringify(problem)).not.toContain('hunter2');
    expect(toProblem(undefined).status).toBe(500);
    expect(toProblem(Object.assign(new Error('x'), { statusCode: 502 })).status).toBe(500);
  });

  it('keeps the status of a refusal by the HTTP layer', () => {
    const error = Object.assign(new Error('Request body is too large'), { statusCode: 413 });
    expect(toProblem(error)).toMatchObject({ status: 413, detail: 'Request body is too large' });
  });

  it('names the part of the request and every problem in it', () => {
    const error = {
      validationContext: 'querystring',
      validation: [{ instancePath: '/limit', message: 'too small' }, { message: 'unknown key' }],
    };
    const problem = toProblem(error);
    expect(problem.status).toBe(400);
    expect(problem.details).toEqual({
      problems: ['querystring/limit: too small', 'querystring: unknown key'],
    });
  });
});
