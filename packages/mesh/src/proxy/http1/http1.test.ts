import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BodyReader } from './body.ts';
import { HeadBuffer } from './head-buffer.ts';
import { MAX_HEAD_BYTES } from './limits.ts';
import { composeRequestHead, parseRequestHead } from './request.ts';
import { composeResponseHead, parseResponseHead } from './response.ts';

const head = (...lines: string[]): string => lines.join('\r\n');
const additions = { clientAddress: '10.0.0.9', traceparent: 'tp', requestId: 'r1' };

function statusOf(parse: () => unknown): number {
  try {
    parse();
    return 200;
  } catch (error) {
    return (error as { status: number }).status;
  }
}

describe('parseRequestHead', () => {
  it('reads method, target, host, framing and what the client wants of the connection', () => {
    const request = parseRequestHead(
      head('POST /a?b=1 HTTP/1.1', 'Host: web:8080', 'Content-Length: 12', 'X-A:  v  '),
    );
    expect(request).toMatchObject({
      method: 'POST',
      target: '/a?b=1',
      path: '/a',
      host: 'web:8080',
      framing: { kind: 'length', length: 12 },
      keepAlive: true,
    });
    expect(request.fields.list.slice(4)).toEqual(['X-A', 'v']);
    expect(parseRequestHead(head('GET / HTTP/1.0')).keepAlive).toBe(false);
    expect(parseRequestHead(head('GET / HTTP/1.1', 'Host: a', 'Connection: Close')).keepAlive).toBe(false);
  });

  it('turns an absolute target into path and host (RFC 9112 §3.2.2)', () => {
    const request = parseRequestHead(head('GET http://shop:80/x?y HTTP/1.1', 'Host: other'));
    expect(request).toMatchObject({ target: '/x?y', host: 'shop:80' });
    expect(parseRequestHead(head('GET http://shop HTTP/1.1', 'Host: shop')).target).toBe('/');
  });

  it.each([
    ['no host', 400, ['GET / HTTP/1.1']],
    ['two hosts', 400, ['GET / HTTP/1.1', 'Host: a', 'Host: b']],
    ['host with a path', 400, ['GET / HTTP/1.1', 'Host: a/b']],
    ['both framings', 400, ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 3', 'Transfer-Encoding: chunked']],
    [
      'both framings, other order',
      400,
      ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', 'Content-Length: 3'],
    ],
    [
      'two lengths that differ',
      400,
      ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 3', 'Content-Length: 4'],
    ],
    ['two lengths that agree', 400, ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 3', 'Content-Length: 3']],
    ['a list of lengths', 400, ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 3, 3']],
    ['a signed length', 400, ['POST / HTTP/1.1', 'Host: a', 'Content-Length: +3']],
    ['a hexadecimal length', 400, ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 0x3']],
    ['an empty length', 400, ['POST / HTTP/1.1', 'Host: a', 'Content-Length:']],
    ['a huge length', 400, ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 99999999999999999999']],
    ['an unknown coding', 501, ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: gzip, chunked']],
    ['chunked, identity', 501, ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked, identity']],
    ['xchunked', 501, ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: xchunked']],
    [
      'chunked twice',
      400,
      ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
    ],
    ['chunked in HTTP/1.0', 400, ['POST / HTTP/1.0', 'Host: a', 'Transfer-Encoding: chunked']],
    ['a folded line', 400, ['GET / HTTP/1.1', 'Host: a', 'X: 1', ' 2']],
    ['space before the colon', 400, ['POST / HTTP/1.1', 'Host: a', 'Content-Length : 3']],
    ['space before the name', 400, ['POST / HTTP/1.1', ' Host: a']],
    ['a name with a bracket', 400, ['POST / HTTP/1.1', 'Host: a', 'X[]: 3']],
    ['no name', 400, ['GET / HTTP/1.1', 'Host: a', ': x']],
    ['no colon', 400, ['GET / HTTP/1.1', 'Host: a', 'x']],
    ['a NUL in a value', 400, ['GET / HTTP/1.1', 'Host: a', 'X: a\0b']],
    ['a bare CR in a value', 400, ['GET / HTTP/1.1', 'Host: a', 'X: a\rTransfer-Encoding: chunked']],
    ['a bare LF in a value', 400, ['GET / HTTP/1.1', 'Host: a', 'X: a\nTransfer-Encoding: chunked']],
    [
      'a vertical tab around the coding',
      400,
      ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: \x0bchunked'],
    ],
    ['two spaces in the request line', 400, ['GET  / HTTP/1.1', 'Host: a']],
    ['a tab in the request line', 400, ['GET\t/ HTTP/1.1', 'Host: a']],
    ['no version', 400, ['GET /', 'Host: a']],
    ['a lower-case version', 400, ['GET / http/1.1', 'Host: a']],
    ['version 2', 505, ['GET / HTTP/2.0', 'Host: a']],
    ['version 1.2', 505, ['GET / HTTP/1.2', 'Host: a']],
    ['connect', 405, ['CONNECT a:443 HTTP/1.1', 'Host: a:443']],
    ['a target that is no path', 400, ['GET a HTTP/1.1', 'Host: a']],
    ['an https proxy URL with user', 400, ['GET http://u@a/ HTTP/1.1', 'Host: a']],
    ['a fragment', 400, ['GET /a#b HTTP/1.1', 'Host: a']],
    [
      'a connection header that takes away the length',
      400,
      ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 3', 'Connection: content-length'],
    ],
    ['a connection header that takes away the host', 400, ['GET / HTTP/1.1', 'Host: a', 'Connection: Host']],
    ['101 header fields', 431, ['GET / HTTP/1.1', 'Host: a', ...Array(100).fill('a: b')]],
  ])('refuses %s', (_, status, lines) => {
    expect(statusOf(() => parseRequestHead(head(...lines)))).toBe(status);
  });

  it('does not offer upgrades that would carry requests past the rules', () => {
    const upgrade = (value: string): string | undefined =>
      parseRequestHead(head('GET / HTTP/1.1', 'Host: a', 'Connection: Upgrade', `Upgrade: ${value}`)).upgrade;
    expect(upgrade('websocket')).toBe('websocket');
    expect([
      upgrade('h2c'),
      upgrade('H2C'),
      upgrade('websocket, h2c'),
      upgrade('TLS/1.0'),
      upgrade('HTTP/2.0'),
    ]).toEqual(Array(5).fill(undefined));
  });
});

describe('composeRequestHead', () => {
  it('says framing once, drops what is for one hop, adds who called and the trace', () => {
    const request = parseRequestHead(
      head(
        'POST /a HTTP/1.1',
        'Host: web',
        'Connection: keep-alive, X-Hop',
        'X-Hop: secret',
        'Keep-Alive: 5',
        'TE: trailers',
        'Upgrade: h2c',
        'Proxy-Authorization: x',
        'Transfer-Encoding: Chunked',
        'X-Forwarded-For: 1.2.3.4',
        'Traceparent: old',
        'Accept: */*',
      ),
    );
    expect(composeRequestHead(request, additions).split('\r\n')).toEqual([
      'POST /a HTTP/1.1',
      'host: web',
      'Accept: */*',
      'transfer-encoding: chunked',
      'traceparent: tp',
      'x-request-id: r1',
      'x-forwarded-for: 1.2.3.4, 10.0.0.9',
      'x-forwarded-proto: http',
      'x-forwarded-host: web',
      'via: 1.1 heptad',
      '',
      '',
    ]);
  });

  it('whatever it accepts, it sends on as a head that it reads the same way', () => {
    const name = fc
      .stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,10}$/)
      .filter((text) => !/^(host|connection|upgrade|via|te)$/i.test(text));
    const value = fc.stringMatching(/^[\x21-\x7e\x80-\xff]([\x20-\x7e\x80-\xff]{0,20}[\x21-\x7e])?$/);
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 10 }), (fields) => {
        const text = head('GET /p HTTP/1.1', 'Host: a', ...fields.map(([key, val]) => `${key}: ${val}`));
        if (statusOf(() => parseRequestHead(text)) !== 200) return;
        const first = parseRequestHead(text);
        const sent = composeRequestHead(first, additions);
        const second = parseRequestHead(sent.slice(0, -4));
        expect(second.framing).toEqual(first.framing);
        expect(second.host).toBe('a');
        expect(second.target).toBe('/p');
        expect(sent.match(/\r\n\r\n/g)).toHaveLength(1);
      }),
    );
  });
});

describe('parseResponseHead', () => {
  it.each([
    ['GET', 200, ['Content-Length: 5'], { kind: 'length', length: 5 }],
    ['GET', 200, ['Content-Length: 0'], { kind: 'none' }],
    ['GET', 200, ['Transfer-Encoding: chunked'], { kind: 'chunked' }],
    ['GET', 200, [], { kind: 'close' }],
    ['HEAD', 200, ['Content-Length: 5'], { kind: 'none' }],
    ['GET', 204, [], { kind: 'none' }],
    ['GET', 304, ['Content-Length: 5'], { kind: 'none' }],
    ['GET', 100, [], { kind: 'none' }],
  ] as const)('%s %i %j ends as RFC 9112 §6.3 says', (method, status, fields, framing) => {
    expect(parseResponseHead(head(`HTTP/1.1 ${status} X`, ...fields), method).framing).toEqual(framing);
  });

  it('refuses what would let an endpoint split its answer in two', () => {
    for (const fields of [
      ['Content-Length: 5', 'Transfer-Encoding: chunked'],
      ['Content-Length: 5', 'Content-Length: 6'],
      ['Transfer-Encoding: gzip'],
      ['X: a\nY: b'],
    ]) {
      expect(statusOf(() => parseResponseHead(head('HTTP/1.1 200 OK', ...fields), 'GET'))).not.toBe(200);
    }
    for (const line of ['HTTP/1.1 20 OK', 'HTTP/2 200', 'ICY 200 OK', 'HTTP/1.1 2000 OK', 'HTTP/1.1 099 X']) {
      expect(statusOf(() => parseResponseHead(line, 'GET'))).toBe(400);
    }
  });

  it('reads how long an idle connection is kept, and forwards without hop fields', () => {
    const response = parseResponseHead(
      head('HTTP/1.1 200 OK', 'Connection: keep-alive', 'Keep-Alive: timeout=7', 'Content-Length: 2', 'A: b'),
      'GET',
    );
    expect(response).toMatchObject({ keepAlive: true, keepAliveTimeoutMs: 7_000 });
    const forwarded = composeResponseHead(response, {
      chunked: false,
      close: true,
      sayKeepAlive: false,
      requestId: 'r1',
    });
    expect(forwarded.split('\r\n')).toEqual([
      'HTTP/1.1 200 OK',
      'Content-Length: 2',
      'A: b',
      'x-request-id: r1',
      'connection: close',
      '',
      '',
    ]);
  });
});

describe('HeadBuffer', () => {
  it('finds the end of a head wherever the bytes are cut', () => {
    const text = 'GET / HTTP/1.1\r\nHost: a\r\n\r\nrest';
    for (let cut = 0; cut <= text.length; cut += 1) {
      const buffer = new HeadBuffer();
      const first = cut === 0 ? undefined : buffer.push(Buffer.from(text.slice(0, cut)));
      const complete = first ?? buffer.push(Buffer.from(text.slice(cut)));
      expect(complete?.text).toBe('GET / HTTP/1.1\r\nHost: a');
    }
  });

  it('refuses an endless head and bare line feeds at once', () => {
    expect(statusOf(() => new HeadBuffer().push(Buffer.alloc(MAX_HEAD_BYTES + 1, 'a')))).toBe(431);
    expect(statusOf(() => new HeadBuffer().push(Buffer.from('GET / HTTP/1.1\nHost: a\n\n')))).toBe(400);
  });
});

describe('BodyReader', () => {
  const read = (
    text: string,
    pieces: readonly number[],
  ): { consumed: string; forwarded: string; data: string; done: boolean } => {
    const reader = new BodyReader({ kind: 'chunked' });
    const bytes = Buffer.from(text, 'latin1');
    let consumed = '';
    let forwarded = '';
    let data = '';
    let at = 0;
    for (const size of [...pieces, bytes.length]) {
      const piece = bytes.subarray(at, at + size);
      if (piece.length === 0 || reader.done) break;
      const end = reader.feed(piece, 0, (slice) => {
        data += slice.toString('latin1');
      });
      consumed += piece.toString('latin1', 0, end);
      forwarded += reader.forwardable(piece, end).toString('latin1');
      at += piece.length;
    }
    return { consumed, forwarded, data, done: reader.done };
  };

  it('finds the end of a chunked body however it is cut, and nothing beyond it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ minLength: 1, maxLength: 40, unit: 'binary-ascii' }), { maxLength: 5 }),
        fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 40 }),
        (chunks, pieces) => {
          const body = `${chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('')}0\r\nX-Sum: 1\r\n\r\n`;
          const result = read(`${body}GET / HTTP/1.1\r\n`, pieces);
          expect(result.done).toBe(true);
          expect(body.startsWith(result.consumed) && result.consumed.length === body.length).toBe(true);
          expect(result.data).toBe(chunks.join(''));
          expect(result.forwarded).toBe(body.replace('X-Sum: 1\r\n\r\n', '\r\n'));
        },
      ),
    );
  });

  it.each([
    ['an extension', '3;a=b\r\nabc\r\n0\r\n\r\n'],
    ['a size with a prefix', '0x3\r\nabc\r\n0\r\n\r\n'],
    ['a signed size', '+3\r\nabc\r\n0\r\n\r\n'],
    ['space after the size', '3 \r\nabc\r\n0\r\n\r\n'],
    ['no size', '\r\nabc\r\n0\r\n\r\n'],
    ['a size that overflows', 'ffffffffffffffffff\r\nabc'],
    ['a bare LF after the size', '3\nabc\r\n0\r\n\r\n'],
    ['a bare CR after the size', '3\rXabc\r\n0\r\n\r\n'],
    ['no CRLF after the data', '3\r\nabcd\r\n0\r\n\r\n'],
    ['a bare LF after the data', '3\r\nabc\n0\r\n\r\n'],
    ['a bare LF at the end', '0\r\n\n'],
    ['a length in the trailer', '0\r\nContent-Length: 3\r\n\r\n'],
    ['a folded trailer', '0\r\nX: 1\r\n 2\r\n\r\n'],
    ['a trailer without a colon', '0\r\nGET / HTTP/1.1\r\n\r\n'],
    ['endless trailers', `0\r\n${'X: 1234567890\r\n'.repeat(1_000)}`],
  ])('refuses %s', (_, body) => {
    expect(statusOf(() => read(body, []))).toBe(400);
  });

  it('takes exactly the announced length', () => {
    const reader = new BodyReader({ kind: 'length', length: 5 });
    expect(reader.feed(Buffer.from('abc'), 0)).toBe(3);
    expect(reader.feed(Buffer.from('defgh'), 0)).toBe(2);
    expect(reader.done).toBe(true);
  });
});
