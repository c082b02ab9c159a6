// /mesh: endpoints, routes (traffic rules), policies, and calling a service as the mesh does.

import {
  type EndpointResource,
  endpointSpec,
  errorMessage,
  HeptadError,
  invalidArgument,
  isHeptadError,
  networkPolicySpec,
  resourceName,
  trafficRuleSpec,
} from '@heptad/core';
import { z } from 'zod';
import { CONTAINER_LABEL } from '../../agent/agent-api.ts';
import type { App } from '../app.ts';
import { ifRevisionOf, setEtag } from '../etag.ts';
import { page, pageQuery } from '../paging.ts';
import type { ServerParts } from '../parts.ts';
import { SYSTEM_LABEL } from '../system-service.ts';

const nameParams = z.object({ name: resourceName });
const callBody = z.object({
  service: resourceName,
  path: z.string().startsWith('/').default('/'),
  method: z.string().default('GET'),
  headers: z.record(z.string(), z.string()).default({}),
  body: z.string().optional(),
});

/** What a service may answer through `/mesh/call`; more is refused. */
const CALL_BODY_LIMIT_BYTES = 4 * 1024 * 1024;
const CALL_TIMEOUT_MS = 30_000;

type CallBody = AsyncIterable<Uint8Array>;

/** Adds the routes. */
export function meshRoutes(app: App, parts: ServerParts): void {
  const { Endpoint, NetworkPolicy, TrafficRule } = parts.resources;
  const read = { config: { access: { resource: 'mesh', action: 'read' } } } as const;
  const write = { config: { access: { resource: 'mesh', action: 'write' } } } as const;

  app.get('/api/v1/mesh/endpoints', { ...read, schema: { querystring: pageQuery } }, async (request) =>
    page<EndpointResource>((await Endpoint.list()).items, request.query),
  );

  app.get(
    '/api/v1/mesh/endpoints/:name',
    { ...read, schema: { params: nameParams } },
    async (request, reply) => {
      const found = await Endpoint.get(request.params.name);
      setEtag(reply, found);
      return found;
    },
  );
  app.put(
    '/api/v1/mesh/endpoints/:name',
    { ...write, schema: { params: nameParams, body: z.object({ spec: endpointSpec }) } },
    async (request, reply) => {
      const { name } = request.params;
      requireForeign(await Endpoint.find(name), request.body.spec);
      await Endpoint.apply(
        { name, spec: request.body.spec, status: { state: 'ready' } },
        ifRevisionOf(request),
      );
      // Who names an endpoint says that it can be used, also when it was taken out before.
      const endpoint = await Endpoint.updateStatus(name, () => ({ state: 'ready' }));
      setEtag(reply, endpoint);
      return endpoint;
    },
  );
  app.delete(
    '/api/v1/mesh/endpoints/:name',
    { ...write, schema: { params: nameParams } },
    async (request, reply) => {
      requireForeign(await Endpoint.get(request.params.name), undefined);
      await Endpoint.remove(request.params.name, ifRevisionOf(request));
      return reply.status(204).send();
    },
  );

  app.get('/api/v1/mesh/policies', { ...read, schema: { querystring: pageQuery } }, async (request) =>
    page((await NetworkPolicy.list()).items, request.query),
  );
  app.get(
    '/api/v1/mesh/policies/:name',
    { ...read, schema: { params: nameParams } },
    async (request, reply) => {
      const found = await NetworkPolicy.get(request.params.name);
      setEtag(reply, found);
      return found;
    },
  );
  app.put(
    '/api/v1/mesh/policies/:name',
    { ...write, schema: { params: nameParams, body: z.object({ spec: networkPolicySpec }) } },
    async (request, reply) => {
      const policy = await NetworkPolicy.apply(
        { name: request.params.name, spec: request.body.spec, status: {} },
        ifRevisionOf(request),
      );
      setEtag(reply, policy);
      return policy;
    },
  );
  app.delete(
    '/api/v1/mesh/policies/:name',
    { ...write, schema: { params: nameParams } },
    async (request, reply) => {
      await NetworkPolicy.remove(request.params.name, ifRevisionOf(request));
      return reply.status(204).send();
    },
  );

  app.get('/api/v1/mesh/routes', { ...read, schema: { querystring: pageQuery } }, async (request) =>
    page((await TrafficRule.list()).items, request.query),
  );
  app.get(
    '/api/v1/mesh/routes/:name',
    { ...read, schema: { params: nameParams } },
    async (request, reply) => {
      const found = await TrafficRule.get(request.params.name);
      setEtag(reply, found);
      return found;
    },
  );
  app.put(
    '/api/v1/mesh/routes/:name',
    { ...write, schema: { params: nameParams, body: z.object({ spec: trafficRuleSpec }) } },
    async (request, reply) => {
      const rule = await TrafficRule.apply(
        { name: request.params.name, spec: request.body.spec, status: {} },
        ifRevisionOf(request),
      );
      setEtag(reply, rule);
      return rule;
    },
  );
  app.delete(
    '/api/v1/mesh/routes/:name',
    { ...write, schema: { params: nameParams } },
    async (request, reply) => {
      await TrafficRule.remove(request.params.name, ifRevisionOf(request));
      return reply.status(204).send();
    },
  );

  app.post('/api/v1/mesh/call', { ...write, schema: { body: callBody } }, async (request) => {
    const { service, path, method, headers, body } = request.body;
    const { answer, text } = await parts.meshClient
      .fetch(`http://${service}${path}`, {
        method,
        headers,
        signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
        ...(body === undefined ? {} : { body }),
      })
      .then(async (got) => ({ answer: got, text: await boundedText(got, service) }))
      .catch((error: unknown) => {
        throw callFailure(error, service);
      });
    return { status: answer.status, headers: Object.fromEntries(answer.headers.entries()), body: text };
  });
}

/** Endpoints of containers, and the platform's own, are the platform's to write. */
function requireForeign(
  existing: EndpointResource | undefined,
  wanted: EndpointResource['spec'] | undefined,
): void {
  const owned = Object.keys({ ...existing?.labels, ...existing?.spec.labels, ...wanted?.labels }).find(
    (label) => label === CONTAINER_LABEL || label === SYSTEM_LABEL,
  );
  if (owned === undefined) return;
  throw new HeptadError(
    'CONFLICT',
    `cannot change endpoint "${existing?.name ?? wanted?.service}": it is the platform's own (label ${owned})`,
    { hint: 'scale or delete its service instead; endpoints of your own need a name of their own' },
  );
}

/** The answer's text, read no further than the limit: a service must not fill our memory. */
async function boundedText(answer: { readonly body: CallBody | null }, service: string): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > CALL_BODY_LIMIT_BYTES) {
      throw new HeptadError(
        'BAD_RESPONSE',
        `service "${service}" answered more than ${CALL_BODY_LIMIT_BYTES} bytes`,
        { hint: 'call it directly from a container, or ask it for less' },
      );
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** fetch wraps what went wrong in a TypeError: the reader wants the reason. */
function callFailure(error: unknown, service: string): HeptadError {
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (isHeptadError(cause)) return cause;
  if (error instanceof Error && error.name === 'TimeoutError') {
    return new HeptadError('TIMEOUT', `service "${service}" did not answer in ${CALL_TIMEOUT_MS / 1000} s`, {
      hint: `heptad logs ${service} may say why`,
    });
  }
  if (error instanceof TypeError && error.cause === undefined)
    return invalidArgument(
      `this request cannot be sent: ${error.message}`,
      'look at its method, headers and body',
    );
  const reason = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return new HeptadError('CALL_FAILED', `cannot call service "${service}": ${errorMessage(reason)}`, {
    cause: error,
    hint: `heptad ps ${service} says whether it runs`,
  });
}
