// The head of a response: strict parse, and its text for the client.

import { type Fields, type Framing, fieldValue, parseFields } from './fields.ts';
import { HttpParseError } from './parse-error.ts';
import { keepsAlive } from './request.ts';

/** A parsed response head. */
export interface ResponseHead {
  readonly status: number;
  readonly reason: string;
  readonly fields: Fields;
  readonly framing: Framing;
  /** Whether the upstream keeps its connection after this response. */
  readonly keepAlive: boolean;
  /** How long it says it keeps an idle connection (`Keep-Alive: timeout=`). */
  readonly keepAliveTimeoutMs: number | undefined;
}

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/;
const MAX_TIMEOUT_SECONDS = 3_600;

/** Parses the bytes of a response head (without the empty line), given as latin1 text. */
export function parseResponseHead(text: string, requestMethod: string): ResponseHead {
  const lines = text.split('\r\n');
  const match = STATUS_LINE.exec(lines[0] ?? '');
  const [, minor, statusText, reason] = match ?? [];
  if (statusText === undefined) throw new HttpParseError(400, 'a malformed status line');
  const fields = parseFields(lines, 1);
  const status = Number(statusText);
  const framing = framingOf(fields, status, requestMethod);
  const timeout = /(?:^|[ ,])timeout=(\d{1,6})/i.exec(fieldValue(fields, 'keep-alive') ?? '')?.[1];
  return {
    status,
    reason: reason ?? '',
    fields,
    framing,
    keepAlive: framing.kind !== 'close' && keepsAlive(fields, minor === '1' ? 1 : 0),
    keepAliveTimeoutMs:
      timeout === undefined ? undefined : Math.min(Number(timeout), MAX_TIMEOUT_SECONDS) * 1_000,
  };
}

/** RFC 9112 §6.3, in its order. */
function framingOf(fields: Fields, status: number, requestMethod: string): Framing {
  if (requestMethod === 'HEAD' || status < 200 || status === 204 || status === 304) return { kind: 'none' };
  if (fields.chunked) return { kind: 'chunked' };
  if (fields.contentLength === undefined) return { kind: 'close' };
  return fields.contentLength === 0 ? { kind: 'none' } : { kind: 'length', length: fields.contentLength };
}

const RESPONSE_DROPPED: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'upgrade',
  'transfer-encoding',
]);

/** How the response goes on to the client. */
export interface ResponseForwarding {
  /** Whether the body is sent in chunks; not to HTTP/1.0 clients. */
  readonly chunked: boolean;
  /** Whether the client connection ends after it. */
  readonly close: boolean;
  /** HTTP/1.0 clients must be told that the connection stays. */
  readonly sayKeepAlive: boolean;
  readonly requestId: string;
}

/** The head as sent to the client. latin1 text. */
export function composeResponseHead(head: ResponseHead, forwarding: ResponseForwarding): string {
  const { fields } = head;
  let text = `HTTP/1.1 ${head.status} ${head.reason}\r\n`;
  let hasRequestId = false;
  for (let index = 0; index < fields.names.length; index += 1) {
    const name = fields.names[index] ?? '';
    if (RESPONSE_DROPPED.has(name) || (name !== 'content-length' && fields.connection.has(name))) continue;
    if (name === 'x-request-id') hasRequestId = true;
    text += `${fields.list[index * 2]}: ${fields.list[index * 2 + 1]}\r\n`;
  }
  if (forwarding.chunked) text += 'transfer-encoding: chunked\r\n';
  if (!hasRequestId) text += `x-request-id: ${forwarding.requestId}\r\n`;
  if (head.status === 101) {
    text += `connection: upgrade\r\nupgrade: ${fieldValue(fields, 'upgrade') ?? ''}\r\n`;
  } else if (forwarding.close) text += 'connection: close\r\n';
  else if (forwarding.sayKeepAlive) text += 'connection: keep-alive\r\n';
  return `${text}\r\n`;
}
