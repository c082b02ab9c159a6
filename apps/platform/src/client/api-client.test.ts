import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { ApiClient } from './api-client.ts';
import type { ReceivedEvent } from './event-parser.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

async function serve(handler: Handler): Promise<string> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `http://127.0.0.1:${address.port}`;
}

const clientOf = async (handler: Handler): Promise<ApiClient> =>
  new ApiClient({ server: `${await serve(handler)}/`, token: 'pear' });

describe('JSON', () => {
  it('goes there and back, with the token', async () => {
    const client = await clientOf(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += String(chunk);
      const { method, url, headers } = request;
      response.end(
        JSON.stringify({ method, url, body, type: headers['content-type'], who: headers.authorization }),
      );
    });
    expect(await client.json('PUT', '/api/v1/services/a', { replicas: 2 })).toEqual({
      method: 'PUT',
      url: '/api/v1/services/a',
      body: '{"replicas":2}',
      type: 'application/json',
      who: 'Bearer pear',
    });
  });

  it('is undefined for an answer without a body', async () => {
    const client = await clientOf((_request, response) => response.writeHead(204).end());
    expect(await client.json('DELETE', '/x')).toBeUndefined();
  });
});

describe('a refusal', () => {
  it('is the error that the server had', async () => {
    const problem = {
      code: 'NAME_IN_USE',
      detail: 'the name is taken',
      hint: 'choose another',
      retryable: true,
      details: { name: 'a' },
    };
    const client = await clientOf((_request, response) =>
      response.writeHead(409, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem)),
    );
    await expect(client.json('POST', '/x')).rejects.toMatchObject({
      code: 'NAME_IN_USE',
      message: 'the name is taken',
      hint: 'choose another',
      retryable: true,
      details: { name: 'a', status: 409 },
    });
  });

  it('of HEAD, which has no body, is told by its status', async () => {
    const client = await clientOf((_request, response) => response.writeHead(404).end());
    await expect(client.raw('HEAD', '/x')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('by something that is no Heptad server says so', async () => {
    const client = await clientOf((request, response) =>
      response.writeHead(request.url === '/bad' ? 502 : 200).end('<html>nginx</html>'),
    );
    for (const path of ['/bad', '/good']) {
      await expect(client.json('GET', path)).rejects.toMatchObject({
        code: 'BAD_RESPONSE',
        message: expect.stringContaining('<html>nginx</html>'),
        hint: expect.stringContaining('a Heptad server?'),
      });
    }
  });

  it('to connect says where and what to do', async () => {
    const server = await serve(() => {});
    for (const close of closing.splice(0)) close();
    const client = new ApiClient({ server });
    await expect(client.json('GET', '/')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining(server),
      hint: expect.stringContaining('heptad up'),
      retryable: true,
    });
    await expect(client.json('POST', '/')).rejects.toMatchObject({ retryable: false });
  });
});

describe('lines', () => {
  it('come whole, however they travel, the last one without an end too', async () => {
    const bytes = Buffer.from('erste Zeile: äöü\n\nlast');
    const client = await clientOf(async (_request, response) => {
      for (const byte of bytes) {
        response.write(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
      response.end();
    });
    const lines: string[] = [];
    for await (const line of client.lines('/x')) lines.push(line);
    expect(lines).toEqual(['erste Zeile: äöü', '', 'last']);
  });
});

describe('events', () => {
  it('resume after the last one that was seen when the connection is lost', async () => {
    const asked: (string | undefined)[] = [];
    const client = await clientOf((request, response) => {
      asked.push(request.headers['last-event-id'] as string | undefined);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const next = asked.length;
      response.write(`: connected\nid: 0.${next}\n\n`);
      if (next === 1) response.end();
      else
        response.end(
          `id: ${next}.0\nevent: step\ndata: {"n":${next}}\n\nid: 99.0\nevent: step\ndata: {"half`,
        );
    });
    const seen: ReceivedEvent[] = [];
    let lastEventId = '';
    for (let connection = 0; connection < 3; connection += 1) {
      const onId = (id: string): void => {
        lastEventId = id;
      };
      for await (const event of client.events({ lastEventId, onId })) seen.push(event);
      // The id of an event that was cut off must not be resumed from: it was never seen.
      if (connection > 0) lastEventId = seen.at(-1)?.id ?? lastEventId;
    }
    expect(asked).toEqual([undefined, '0.1', '2.0']);
    expect(seen).toEqual([
      { id: '2.0', type: 'step', data: { n: 2 } },
      { id: '3.0', type: 'step', data: { n: 3 } },
    ]);
  });
});
