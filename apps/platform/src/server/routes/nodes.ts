// /nodes and /containers: machines and what runs on them.

import { facility, HeptadError, resourceName } from '@heptad/core';
import { request as httpRequest } from 'undici';
import WebSocket from 'ws';
import { z } from 'zod';
import type { App } from '../app.ts';
import { setEtag } from '../etag.ts';
import { page, pageQuery } from '../paging.ts';
import type { ServerParts } from '../parts.ts';
import { toProblem } from '../problem.ts';
import { redactContainer } from '../redact.ts';
import { issueWorkloadToken } from '../workload-tokens.ts';

const nodeParams = z.object({ name: z.string() });
const containerParams = z.object({ id: resourceName });
const logQuery = z.object({
  follow: z.stringbool().default(false),
  since: z.coerce.number().int().optional(),
  tail: z.coerce.number().int().min(0).max(100_000).optional(),
});

/** Adds the routes. */
export function nodeRoutes(app: App, parts: ServerParts): void {
  const { Node, Container } = parts.resources;
  const nodesRead = { config: { access: { resource: 'nodes', action: 'read' } } } as const;
  const nodesWrite = { config: { access: { resource: 'nodes', action: 'write' } } } as const;
  const containersRead = { config: { access: { resource: 'containers', action: 'read' } } } as const;

  app.get('/api/v1/nodes', { ...nodesRead, schema: { querystring: pageQuery } }, async (request) =>
    page((await Node.list()).items, request.query),
  );
  app.get('/api/v1/nodes/:name', { ...nodesRead, schema: { params: nodeParams } }, async (request, reply) => {
    const node = await Node.get(request.params.name);
    setEtag(reply, node);
    return node;
  });
  for (const verb of ['cordon', 'uncordon', 'drain'] as const) {
    app.post(
      `/api/v1/nodes/:name/${verb}`,
      { ...nodesWrite, schema: { params: nodeParams } },
      async (request) => parts.orchestrator[verb](request.params.name),
    );
  }
  app.post(
    '/api/v1/nodes/:name/workload-tokens',
    {
      ...nodesWrite,
      schema: {
        hide: true,
        params: nodeParams,
        body: z.object({ container: resourceName, service: resourceName, facilities: z.array(facility) }),
      },
    },
    async (request) => {
      if (request.principal?.type !== 'node')
        throw new HeptadError('FORBIDDEN', 'only a node gets tokens for its containers');
      return { token: await issueWorkloadToken(parts.security, request.body) };
    },
  );
  app.get(
    '/api/v1/containers',
    { ...containersRead, schema: { querystring: pageQuery } },
    async (request) => {
      const { items } = await Container.list();
      // Environment and files of the template may hold secrets; nobody needs them here.
      return page(
        items.map((item) => redactContainer(parts.redactor, item)),
        request.query,
      );
    },
  );
  app.get(
    '/api/v1/containers/:id',
    { ...containersRead, schema: { params: containerParams } },
    async (request) => redactContainer(parts.redactor, await Container.get(request.params.id)),
  );
  app.get(
    '/api/v1/containers/:id/runtime',
    { ...containersRead, schema: { params: containerParams } },
    async (request) => parts.agents.inspect(await Container.get(request.params.id)),
  );
  app.get(
    '/api/v1/containers/:id/logs',
    {
      config: { access: { resource: 'logs', action: 'read' } },
      schema: { params: containerParams, querystring: logQuery },
    },
    async (request, reply) => {
      const agent = await parts.agents.of(request.params.id);
      const query = new URLSearchParams();
      for (const [key, value] of Object.entries(request.query)) query.set(key, String(value));
      const aborted = new AbortController();
      reply.raw.on('close', () => aborted.abort());
      const answer = await httpRequest(`${agent.url}/containers/${request.params.id}/logs?${query}`, {
        headers: { authorization: `Bearer ${agent.token}` },
        bodyTimeout: 0,
        signal: aborted.signal,
      });
      // A reader that leaves is no error of ours.
      answer.body.on('error', () => reply.raw.destroy());
      return reply.status(answer.statusCode).type(String(answer.headers['content-type'])).send(answer.body);
    },
  );
  app.get(
    '/api/v1/containers/:id/stats',
    { ...containersRead, schema: { params: containerParams } },
    async (request, reply) => {
      const agent = await parts.agents.of(request.params.id);
      const answer = await httpRequest(`${agent.url}/containers/${request.params.id}/stats`, {
        headers: { authorization: `Bearer ${agent.token}` },
      });
      return reply.status(answer.statusCode).type(String(answer.headers['content-type'])).send(answer.body);
    },
  );
  app.get(
    '/api/v1/containers/:id/exec',
    {
      websocket: true,
      config: { access: { resource: 'containers', action: 'execute' } },
      schema: { params: containerParams },
    },
    (socket, request) => {
      relayExec(parts, request.params.id, socket).catch((error: unknown) => {
        const problem = toProblem(error);
        socket.send(
          JSON.stringify({ error: { code: problem.code, message: problem.detail, hint: problem.hint } }),
        );
        socket.close();
      });
    },
  );
}

/** Frames sent before the agent's side is open wait here; beyond, the client's socket is paused. */
const MAX_EARLY_FRAMES = 16;

/** Passes frames on as fast as the other side takes them. */
function pipe(from: WebSocket, to: WebSocket): void {
  from.on('message', (data) => {
    from.pause();
    to.send(String(data), () => from.resume());
  });
}

/** Joins the client's socket and the agent's: frames pass through unchanged. */
async function relayExec(parts: ServerParts, container: string, client: WebSocket): Promise<void> {
  const early: string[] = [];
  const hold = (data: WebSocket.RawData): void => {
    if (early.push(String(data)) >= MAX_EARLY_FRAMES) client.pause();
  };
  client.on('message', hold);
  const agent = await parts.agents.of(container);
  const upstream = new WebSocket(`${agent.url.replace(/^http/, 'ws')}/containers/${container}/exec`, {
    headers: { authorization: `Bearer ${agent.token}` },
  });
  upstream.on('open', () => {
    client.off('message', hold);
    for (const frame of early) upstream.send(frame);
    pipe(client, upstream);
    client.resume();
  });
  pipe(upstream, client);
  upstream.on('close', () => client.close());
  upstream.on('error', (error) => {
    const message = `the agent of this container does not answer: ${error.message}`;
    client.send(JSON.stringify({ error: { code: 'UNAVAILABLE', message } }));
    client.resume();
    client.close();
  });
  client.on('close', () => upstream.close());
}
