// The agent's own API: logs, stats and exec of the containers on its node, for the server only.

import { timingSafeEqual } from 'node:crypto';
import { Readable } from 'node:stream';
import websocket from '@fastify/websocket';
import { type ContainerInfo, type ContainerRuntime, HeptadError, isHeptadError } from '@heptad/core';
import Fastify, { type FastifyBaseLogger, LogController } from 'fastify';
import { z } from 'zod';
import { toProblem } from '../server/problem.ts';
import { serveExec } from './exec-session.ts';

/** Label of the containers that belong to the platform's services. */
export const CONTAINER_LABEL = 'heptad.io/container';

/** What the agent's API needs. */
export interface AgentApiOptions {
  readonly runtime: ContainerRuntime;
  readonly host: string;
  readonly port: number;
  /** Only who has this may ask. New at each start of the agent. */
  readonly token: string;
  readonly logger: FastifyBaseLogger;
}

const logQuery = z.object({
  follow: z.stringbool().default(false),
  since: z.coerce.number().optional(),
  tail: z.coerce.number().int().optional(),
});

function isToken(header: string | undefined, token: string): boolean {
  const given = Buffer.from(header ?? '');
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** Container resources and their containers in the runtime have the same name. */
async function findContainer(runtime: ContainerRuntime, name: string): Promise<ContainerInfo> {
  try {
    return await runtime.inspect(name);
  } catch (error) {
    if (!isHeptadError(error, 'CONTAINER_NOT_FOUND')) throw error;
    throw new HeptadError('CONTAINER_NOT_FOUND', `container "${name}" is not on this node`, {
      cause: error,
      hint: 'heptad ps says where it is and why it may not have started yet',
    });
  }
}

/** Serves the API; resolves once it listens. */
export async function serveAgentApi(options: AgentApiOptions): Promise<AsyncDisposable> {
  const { runtime, token } = options;
  const app = Fastify({
    loggerInstance: options.logger,
    forceCloseConnections: true,
    logController: new LogController({ disableRequestLogging: true }),
  });
  app.addHook('onRequest', async (request) => {
    if (request.url === '/healthz') return;
    if (!isToken(request.headers.authorization, token))
      throw new HeptadError('UNAUTHENTICATED', 'the agent answers only to its server');
  });
  app.setErrorHandler((error, _request, reply) => {
    const problem = toProblem(error);
    return reply.status(problem.status).type('application/problem+json').send(JSON.stringify(problem));
  });
  await app.register(websocket);
  app.get('/healthz', async () => ({ ok: true }));
  app.get<{ Params: { name: string } }>('/containers/:name', async (request) =>
    findContainer(runtime, request.params.name),
  );
  app.get<{ Params: { name: string } }>('/containers/:name/stats', async (request) =>
    runtime.stats((await findContainer(runtime, request.params.name)).id),
  );
  app.get<{ Params: { name: string } }>('/containers/:name/logs', async (request, reply) => {
    const query = logQuery.parse(request.query);
    const container = await findContainer(runtime, request.params.name);
    const stop = new AbortController();
    reply.raw.on('close', () => stop.abort());
    const lines = runtime.logs(container.id, {
      follow: query.follow,
      signal: stop.signal,
      ...(query.since === undefined ? {} : { since: query.since }),
      ...(query.tail === undefined ? {} : { tail: query.tail }),
    });
    return reply.type('application/x-ndjson').send(Readable.from(asJsonLines(lines, stop.signal)));
  });
  app.get<{ Params: { name: string } }>('/containers/:name/exec', { websocket: true }, (socket, request) => {
    void serveExec(runtime, findContainer(runtime, request.params.name), socket);
  });
  await app.listen({ host: options.host, port: options.port });
  return { [Symbol.asyncDispose]: () => app.close() };
}

async function* asJsonLines(lines: AsyncIterable<unknown>, signal: AbortSignal): AsyncGenerator<string> {
  try {
    for await (const line of lines) yield `${JSON.stringify(line)}\n`;
  } catch (error) {
    // The reader left: that is how following ends.
    if (!signal.aborted) throw error;
  }
}
