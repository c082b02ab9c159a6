import { afterAll, beforeAll, expect, it } from 'vitest';
import { serviceSpecOf, TestServer } from './support/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

const ALERT = { expression: 'sum(', forMs: 0, severity: 'warning', summary: 's' };

it.each<[string, string, string, unknown, number, string]>([
  ['a service that nobody knows', 'POST', '/mesh/call', { service: 'nope' }, 503, 'NO_ENDPOINT'],
  [
    'a method that is none',
    'POST',
    '/mesh/call',
    { service: 'nope', method: 'A B' },
    400,
    'INVALID_ARGUMENT',
  ],
  ['a GET with a body', 'POST', '/mesh/call', { service: 'nope', body: 'x' }, 400, 'INVALID_ARGUMENT'],
  [
    'a role that there is not',
    'POST',
    '/auth/token',
    { name: 'x', roles: ['root'] },
    400,
    'INVALID_ARGUMENT',
  ],
  ['a node that there is not', 'POST', '/nodes/nope/drain', {}, 404, 'NOT_FOUND'],
  ['a path that cannot be decoded', 'GET', '/services/%zz', undefined, 400, 'BAD_REQUEST'],
  ["removal of the platform's own service", 'DELETE', '/services/heptad', undefined, 403, 'FORBIDDEN'],
  [
    "change of the platform's own service",
    'PUT',
    '/services/heptad',
    { spec: serviceSpecOf() },
    403,
    'FORBIDDEN',
  ],
  [
    "scaling of the platform's own service",
    'POST',
    '/services/heptad/scale',
    { replicas: 3 },
    403,
    'FORBIDDEN',
  ],
  ['an alert that cannot be read', 'PUT', '/alerts/broken', { spec: ALERT }, 400, 'INVALID_QUERY'],
  [
    'an experiment that is broken',
    'POST',
    '/chaos/experiments',
    { source: 'a: [' },
    400,
    'INVALID_EXPERIMENT',
  ],
  [
    'a strategy that nobody knows',
    'POST',
    '/quota/adjust',
    { strategy: 'x', service: 'nope' },
    404,
    'NOT_FOUND',
  ],
])('%s is refused with what to do', async (_what, method, path, body, status, code) => {
  const answer = await server.admin(method, `/api/v1${path}`, body);
  expect([answer.status, answer.body.code]).toEqual([status, code]);
  expect(answer.headers['content-type']).toContain('application/problem+json');
  expect(answer.body.hint.length).toBeGreaterThan(5);
});
