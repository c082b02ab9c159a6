// Request smuggling: what two parsers could read differently must not get past the proxy.

import { createServer, type Server } from 'node:net';
import { NodeProxy } from '@heptad/mesh';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort, raw, snapshotOf, statuses } from './fixtures.ts';

// A backend that reads nothing into what it gets: it keeps every byte, and answers once for each head it can see.
let seen = '';
let server: Server;
let proxy: NodeProxy;
let port: number;

beforeAll(async () => {
  server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      const text = bytes.toString('latin1');
      seen += text;
      // Not at once: an answer before the request's end would hide what the proxy thinks of the rest.
      const answers = [...text.matchAll(/ HTTP\/1\.1\r\n/g)].map(
        () => 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
      );
      setTimeout(() => socket.writable && socket.write(answers.join('')), 60);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const backendPort = (server.address() as { port: number }).port;
  port = await freePort();
  proxy = new NodeProxy();
  const endpoint = {
    id: 'a',
    address: '127.0.0.1',
    ports: { http: backendPort },
    weight: 1,
    state: 'ready' as const,
  };
  await proxy.apply(snapshotOf({ port, endpoints: [endpoint] }));
});

afterAll(async () => {
  await proxy.close();
  await new Promise((resolve) => server.close(resolve));
});

const evil = 'GET /evil HTTP/1.1\r\nHost: a\r\n\r\n';
const post = (...fields: string[]): string =>
  `POST /front HTTP/1.1\r\nHost: a\r\n${fields.map((f) => `${f}\r\n`).join('')}\r\n`;

/** Request bytes that, to some parser somewhere, hide the second request; each must be refused and hide nothing. */
const CORPUS: readonly [string, string][] = [
  ['CL.TE', `${post('Content-Length: 6', 'Transfer-Encoding: chunked')}0\r\n\r\n${evil}`],
  ['TE.CL', `${post('Transfer-Encoding: chunked', 'Content-Length: 4')}1e\r\n${evil}\r\n0\r\n\r\n`],
  ['CL.CL', `${post('Content-Length: 0', `Content-Length: ${evil.length}`)}${evil}`],
  ['CL list', `${post(`Content-Length: 0, ${evil.length}`)}${evil}`],
  ['TE with a space', `${post('Transfer-Encoding : chunked', 'Content-Length: 5')}0\r\n\r\n${evil}`],
  ['TE with a tab', `${post('Transfer-Encoding:\x0bchunked', 'Content-Length: 5')}0\r\n\r\n${evil}`],
  ['TE folded', `${post('Transfer-Encoding:', ' chunked', 'Content-Length: 5')}0\r\n\r\n${evil}`],
  ['TE in quotes', `${post('Transfer-Encoding: "chunked"', 'Content-Length: 5')}0\r\n\r\n${evil}`],
  ['TE unknown', `${post('Transfer-Encoding: cow')}0\r\n\r\n${evil}`],
  ['TE twice', `${post('Transfer-Encoding: chunked', 'Transfer-Encoding: cow')}0\r\n\r\n${evil}`],
  ['TE identity', `${post('Transfer-Encoding: identity', `Content-Length: 5`)}0\r\n\r\n${evil}`],
  [
    'TE after a bare LF',
    `POST / HTTP/1.1\r\nHost: a\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${evil}`,
  ],
  [
    'TE after a bare CR',
    `POST / HTTP/1.1\r\nHost: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${evil}`,
  ],
  ['TE after a NUL', `${post('X: a\0', 'Transfer-Encoding: chunked', 'Content-Length: 5')}0\r\n\r\n${evil}`],
  ['TE in HTTP/1.0', `POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${evil}`],
  ['CL with a sign', `${post('Content-Length: +5')}hello${evil}`],
  ['CL in hexadecimal', `${post('Content-Length: 0x5')}hello${evil}`],
  ['CL with a minus', `${post('Content-Length: -5')}${evil}`],
  ['CL with spaces inside', `${post('Content-Length: 1 0')}hello${evil}`],
  ['CL taken away by Connection', `${post('Content-Length: 5', 'Connection: Content-Length')}hello${evil}`],
  ['chunk size with 0x', `${post('Transfer-Encoding: chunked')}0x5\r\nhello\r\n0\r\n\r\n${evil}`],
  ['chunk size that overflows 32 bits', `${post('Transfer-Encoding: chunked')}100000000000000000\r\n${evil}`],
  ['chunk extension with a bare LF', `${post('Transfer-Encoding: chunked')}2;\nxx\r\n4c\r\n${evil}`],
  ['chunk extension', `${post('Transfer-Encoding: chunked')}5;a="\r\n0\r\n\r\n${evil}`],
  ['chunk ended by LF', `${post('Transfer-Encoding: chunked')}5\nhello\n0\n\n${evil}`],
  ['last chunk ended by LF LF', `${post('Transfer-Encoding: chunked')}0\r\n\n${evil}`],
  [
    'trailer with a request',
    `${post('Transfer-Encoding: chunked')}0\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n`,
  ],
  [
    'trailer with a length',
    `${post('Transfer-Encoding: chunked')}0\r\nContent-Length: ${evil.length}\r\n\r\n${evil}`,
  ],
  ['chunk longer than said', `${post('Transfer-Encoding: chunked')}1\r\nhello\r\n0\r\n\r\n${evil}`],
  ['space before a header', ` GET / HTTP/1.1\r\nHost: a\r\n\r\n${evil}`],
  ['header without a colon', `${post('X-Hidden')}${evil}`],
  ['host twice', `GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n${evil}`],
  ['request line with LF', `GET / HTTP/1.1\nHost: a\n\n${evil}`],
  ['request line with tabs', `GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n${evil}`],
];

describe.each(CORPUS)('%s', (_, bytes) => {
  it('is refused, the connection ends, and the hidden request never arrives', async () => {
    // Whole, and cut in odd places: a decision must not depend on how the network splits the bytes.
    const middle = Math.floor(bytes.length / 2);
    // Just before the end of the hidden request's first line: whatever is sent on before a line is judged shows here.
    const line = bytes.lastIndexOf('\r\nHost: a');
    for (const pieces of [
      [bytes],
      [bytes.slice(0, middle), bytes.slice(middle)],
      [bytes.slice(0, -1), bytes.slice(-1)],
      [bytes.slice(0, line), bytes.slice(line)],
    ]) {
      seen = '';
      const answer = await raw(port, pieces);
      const codes = statuses(answer);
      expect(codes.length).toBeLessThanOrEqual(1);
      if (codes[0] !== undefined) expect([400, 501]).toContain(codes[0]);
      expect(seen).not.toContain('/evil');
    }
  });
});

describe('what is allowed still works', () => {
  it('two honest requests one after another arrive as two', async () => {
    seen = '';
    const first = `${post('Transfer-Encoding: chunked')}5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n`;
    const answer = await raw(port, [first + evil.replace('evil', 'second')], { untilText: 'okHTTP' });
    expect(statuses(answer).every((code) => code === 200)).toBe(true);
    expect(seen).toContain('/front');
  });

  it('an h2c upgrade is not offered to the endpoint', async () => {
    seen = '';
    await raw(
      port,
      [
        'GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n',
      ],
      {
        untilText: 'ok',
      },
    );
    expect(seen).toContain('/up');
    expect(seen.toLowerCase()).not.toContain('h2c');
    expect(seen.toLowerCase()).not.toContain('http2-settings');
  });
});

describe('responses', () => {
  it.each([
    ['both framings', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nabc'],
    ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 3\n\nabc'],
    ['no HTTP at all', 'SSH-2.0-OpenSSH\r\n\r\n'],
    [
      'a switch of protocols nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    ],
  ])('%s is a 502, not a guess', async (_, bytes) => {
    const bad = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.write(bytes));
    });
    await new Promise<void>((resolve) => bad.listen(0, '127.0.0.1', resolve));
    const own = new NodeProxy();
    const ownPort = await freePort();
    const ports = { http: (bad.address() as { port: number }).port };
    await own.apply(
      snapshotOf({
        port: ownPort,
        endpoints: [{ id: 'a', address: '127.0.0.1', ports, weight: 1, state: 'ready' }],
      }),
    );
    const answer = await raw(ownPort, ['GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n']);
    expect(statuses(answer)).toEqual([502]);
    expect(answer).toContain('UPSTREAM_INVALID');
    await own.close();
    await new Promise((resolve) => bad.close(resolve));
  });

  it('bytes beyond an answer are not taken for the answer to the next request', async () => {
    const bad = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', () =>
        socket.write(
          'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
        ),
      );
    });
    await new Promise<void>((resolve) => bad.listen(0, '127.0.0.1', resolve));
    const own = new NodeProxy();
    const ownPort = await freePort();
    const ports = { http: (bad.address() as { port: number }).port };
    await own.apply(
      snapshotOf({
        port: ownPort,
        endpoints: [{ id: 'a', address: '127.0.0.1', ports, weight: 1, state: 'ready' }],
      }),
    );
    for (let n = 0; n < 3; n += 1)
      expect(await (await fetch(`http://127.0.0.1:${ownPort}`)).text()).toBe('ok');
    await own.close();
    await new Promise((resolve) => bad.close(resolve));
  });
});
