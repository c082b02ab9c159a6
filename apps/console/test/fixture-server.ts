// Serves the built console and the made-up platform over HTTP, and remembers what was asked of it.

import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { extname, join } from 'node:path';
import { fixture, type Mood } from './fixture.ts';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};
export const PASSWORD = 'four random words';

/** What a test may look at and turn. */
export interface FixtureServer extends AsyncDisposable {
  readonly url: string;
  mood: Mood;
  /** Answers nothing but closed connections: the platform is away. */
  away: boolean;
  /** `POST /path {body}` of every change asked for. */
  readonly changes: string[];
  /** The `Last-Event-ID` of each connection to the stream; empty for none. */
  readonly resumedFrom: string[];
  /** Sends one event to every open stream. */
  emit(id: number, event: object): void;
  /** Breaks every open stream. */
  dropStreams(): void;
  /** Roles of the user who logs in. */
  roles: string[];
}

/** Serves the build in `directory` on a free port. */
export async function serveFixture(directory: string): Promise<FixtureServer> {
  const streams = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    if (fixtureServer.away) response.socket?.destroy();
    else {
      answer(fixtureServer, directory, streams, request, response).catch(() => {
        if (!response.headersSent) response.writeHead(500);
        response.end();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const fixtureServer: FixtureServer = {
    url: `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
    mood: 'good',
    away: false,
    changes: [],
    resumedFrom: [],
    roles: ['admin'],
    emit: (id, event) => {
      for (const stream of streams)
        stream.write(`id: ${id}\nevent: step\ndata: ${JSON.stringify(event)}\n\n`);
    },
    dropStreams: () => {
      for (const stream of streams) stream.socket?.destroy();
      streams.clear();
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return fixtureServer;
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, {
    'content-type': status < 400 ? 'application/json' : 'application/problem+json',
  });
  response.end(JSON.stringify(body));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

async function answer(
  state: FixtureServer,
  directory: string,
  streams: Set<ServerResponse>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://fixture');
  const path = url.pathname;
  if (!path.startsWith('/api/'))
    return sendFile(join(directory, path === '/' ? 'index.html' : path), response);
  if (path === '/api/v1/auth/login') {
    const { username, password } = JSON.parse(await bodyOf(request));
    if (password !== PASSWORD) {
      return json(response, 401, {
        title: 'Authentication failed',
        detail: 'login failed: the user name or the password is wrong',
        hint: 'check both; an admin can set a new password',
        code: 'AUTHENTICATION_FAILED',
      });
    }
    const user = { name: username, roles: state.roles };
    return json(response, 200, {
      accessToken: 'token',
      refreshToken: 'refresh',
      expiresAt: Date.now() + 900_000,
      user,
    });
  }
  if (request.headers.authorization !== 'Bearer token') {
    return json(response, 401, {
      title: 'Unauthenticated',
      detail: 'the request has no token',
      code: 'UNAUTHENTICATED',
    });
  }
  if (request.method === 'POST') {
    state.changes.push(`${path} ${await bodyOf(request)}`);
    if (path.includes('/catalog/')) {
      return json(response, 409, {
        title: 'Revision conflict',
        detail: 'catalog was changed by somebody else',
        hint: 'look again',
        code: 'REVISION_CONFLICT',
      });
    }
    return json(response, 200, {});
  }
  if (path === '/api/v1/events') return openStream(state, streams, request, response);
  if (path.endsWith('/logs')) return sendLogs(response);
  if (path === '/api/v1/monitoring/query') return json(response, 200, queryAnswer(url, state.mood));
  const known = fixture(state.mood, Date.now())[path];
  return known === undefined
    ? json(response, 404, { title: 'Not found', detail: path, code: 'NOT_FOUND' })
    : json(response, 200, known);
}

async function sendFile(path: string, response: ServerResponse): Promise<void> {
  const data = await readFile(path).catch(() => undefined);
  response.writeHead(data === undefined ? 404 : 200, {
    'content-type': TYPES[extname(path)] ?? 'application/octet-stream',
  });
  response.end(data);
}

function openStream(
  state: FixtureServer,
  streams: Set<ServerResponse>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  state.resumedFrom.push(String(request.headers['last-event-id'] ?? ''));
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(': connected\n\n');
  streams.add(response);
  response.on('close', () => streams.delete(response));
}

function sendLogs(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  for (let line = 0; line < 60; line += 1) {
    const text =
      line % 13 === 5
        ? `Error: cannot reach orders: connection refused (attempt ${line})`
        : `{"level":"info","method":"GET","path":"/products/${line}","status":200,"ms":${(line * 7) % 23}}`;
    response.write(
      `${JSON.stringify({ at: Date.now() - (60 - line) * 900, stream: line % 13 === 5 ? 'stderr' : 'stdout', text })}\n`,
    );
  }
}

function queryAnswer(url: URL, mood: Mood): unknown {
  const query = url.searchParams.get('query') ?? '';
  const start = Number(url.searchParams.get('start'));
  if (start === 0) {
    const names = ['web', 'catalog', 'orders'].flatMap((service) =>
      [0, 1, 2].map((slot) => `${service}-${slot}-7f3a`),
    );
    const result = names.map((container, index) => ({
      metric: { container },
      value: [
        0,
        query.includes('cpu') ? String(0.02 + index * 0.013) : String((90 + index * 11) * 1024 ** 2),
      ],
    }));
    return { status: 'success', data: { resultType: 'vector', result } };
  }
  const end = Number(url.searchParams.get('end'));
  const step = Number(url.searchParams.get('step'));
  const only = /server_address="([^"]*)"/.exec(query)?.[1];
  const services = mood === 'empty' ? [] : only === undefined ? ['catalog', 'orders', 'web'] : [only];
  const scale = query.includes('5..')
    ? mood === 'bad'
      ? 0.08
      : 0.002
    : query.includes('0.99')
      ? 0.034
      : query.includes('0.5,')
        ? 0.006
        : 40;
  const result = services.map((server_address, index) => {
    const values: [number, string][] = [];
    for (let time = start; time <= end; time += step) {
      const wave = 1 + 0.35 * Math.sin(time / 90 + index * 2) + 0.12 * Math.sin(time / 13 + index);
      values.push([time, String(scale * wave * (1 + index * 0.6))]);
    }
    return { metric: { server_address }, values };
  });
  return { status: 'success', data: { resultType: 'matrix', result } };
}
