// The agent's own API: logs, stats and exec of the containers on its node, for the server only.

import { timingSafeEqual } from 'node:crypto';
import { Readable } from 'node:stream';
import websocket from '@fastify/websocket';
import {
  type ContainerInfo,
  type ContainerRuntime,
  errorMessage,
  HeptadError,
  isHeptadError,
} from '@heptad/core';
import Fastify, { type FastifyBaseLogger, LogController } from 'fastify';
import type WebSocket from 'ws';
import { z } from 'zod';
import { toProblem } from '../server/problem.ts';

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
const execStart = z.object({ command: z.array(z.string()).min(1), stdin: z.boolean().default(false) });
const execFrame = z.object({ stdin: z.base64().optional(), end: z.boolean().optional() });

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
    serveExec(runtime, request.params.name, socket).catch((error: unknown) => {
      const hint = isHeptadError(error) ? error.hint : undefined;
      socket.send(
        JSON.stringify({
          error: { code: isHeptadError(error) ? error.code : 'INTERNAL', message: errorMessage(error), hint },
        }),
      );
      socket.close();
    });
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

/** Standard input waits here while the program reads slowly; beyond, the socket is paused. */
const STDIN_HIGH_WATER_BYTES = 1024 * 1024;

async function serveExec(runtime: ContainerRuntime, name: string, socket: WebSocket): Promise<void> {
  const container = await findContainer(runtime, name);
  const start = await new Promise<z.infer<typeof execStart>>((resolve, reject) => {
    socket.once('message', (data) => {
      const parsed = execStart.safeParse(JSON.parse(String(data)));
      if (parsed.success) resolve(parsed.data);
      else
        reject(
          new HeptadError(
            'INVALID_ARGUMENT',
            `the first frame of exec is not { command, stdin? }: ${z.prettifyError(parsed.error)}`,
          ),
        );
    });
    socket.once('close', () =>
      reject(new HeptadError('INVALID_ARGUMENT', 'exec was closed before it began')),
    );
  });
  const stdin = new Readable({ read: () => socket.resume(), highWaterMark: STDIN_HIGH_WATER_BYTES });
  socket.on('message', (data) => {
    const frame = execFrame.safeParse(JSON.parse(String(data)));
    if (!frame.success) return;
    if (frame.data.stdin !== undefined && !stdin.push(Buffer.from(frame.data.stdin, 'base64')))
      socket.pause();
    if (frame.data.end) stdin.push(null);
  });
  const gone = new AbortController();
  socket.on('close', () => gone.abort());
  const session = await runtime.exec(container.id, {
    command: start.command,
    signal: gone.signal,
    ...(start.stdin ? { stdin } : {}),
  });
  const relay = async (stream: AsyncIterable<Uint8Array>, key: 'stdout' | 'stderr'): Promise<void> => {
    for await (const chunk of stream)
      socket.send(JSON.stringify({ [key]: Buffer.from(chunk).toString('base64') }));
  };
  await Promise.all([relay(session.stdout, 'stdout'), relay(session.stderr, 'stderr')]);
  const exit = await session.exit;
  socket.send(JSON.stringify({ exit }));
  socket.close();
}
