// The head of a request: strict parse, and its text for the upstream.

import { type Fields, type Framing, fieldValue, parseFields } from './fields.ts';
import { HttpParseError } from './parse-error.ts';

/** A parsed request head. */
export interface RequestHead {
  readonly method: string;
  /** Origin form (`/path?query`) or `*`. */
  readonly target: string;
  /** Path without query. */
  readonly path: string;
  readonly minorVersion: 0 | 1;
  readonly host: string;
  readonly fields: Fields;
  readonly framing: Framing;
  /** Whether the client wants the connection kept. */
  readonly keepAlive: boolean;
  /** Protocol asked for by `Connection: upgrade`. */
  readonly upgrade: string | undefined;
  readonly expectContinue: boolean;
}

const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e\x80-\xff]+) HTTP\/(\d)\.(\d)$/;
const ABSOLUTE_TARGET = /^https?:\/\/([^/?#@]+)(\/[^#]*|\?[^#]*)?$/i;
const HOST = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(:\d{0,5})?$/;
/** Fields that a Connection header may not take away: the next hop would frame or route differently. */
const PROTECTED = [
  'host',
  'content-length',
  'transfer-encoding',
  'content-type',
  'authorization',
  'cookie',
] as const;
/** Upgrades that would let a client tunnel further requests past per-request rules. */
const REFUSED_UPGRADES = /(^|[\s,])(h2c?|tls|http)(\/|[\s,]|$)/i;

/** Parses the bytes of a request head (without the empty line), given as latin1 text. */
export function parseRequestHead(text: string): RequestHead {
  const lines = text.split('\r\n');
  const match = REQUEST_LINE.exec(lines[0] ?? '');
  const [, method, rawTarget, major, minor] = match ?? [];
  if (method === undefined || rawTarget === undefined)
    throw new HttpParseError(400, 'a malformed request line');
  if (major !== '1' || (minor !== '0' && minor !== '1')) {
    throw new HttpParseError(505, `HTTP version ${major}.${minor}`);
  }
  if (method === 'CONNECT') throw new HttpParseError(405, 'CONNECT, which this proxy does not serve');
  const minorVersion = minor === '1' ? 1 : 0;
  const fields = parseFields(lines, 1);
  for (const name of PROTECTED) {
    if (fields.connection.has(name)) throw new HttpParseError(400, `a Connection header that lists ${name}`);
  }
  if (fields.chunked && minorVersion === 0) throw new HttpParseError(400, 'Transfer-Encoding in HTTP/1.0');
  const { target, authority } = splitTarget(method, rawTarget);
  const host = authority ?? hostOf(fields, minorVersion);
  const query = target.indexOf('?');
  const upgrade = upgradeOf(fields, minorVersion);
  return {
    method,
    target,
    path: query < 0 ? target : target.slice(0, query),
    minorVersion,
    host,
    fields,
    framing: framingOf(fields),
    keepAlive: keepsAlive(fields, minorVersion),
    upgrade,
    expectContinue: minorVersion === 1 && fieldValue(fields, 'expect')?.toLowerCase() === '100-continue',
  };
}

/** Whether the sender of these fields means to keep the connection (RFC 9112 §9.3). */
export function keepsAlive(fields: Fields, minorVersion: 0 | 1): boolean {
  if (fields.connection.has('close')) return false;
  return minorVersion === 1 || fields.connection.has('keep-alive');
}

function framingOf(fields: Fields): Framing {
  if (fields.chunked) return { kind: 'chunked' };
  if (fields.contentLength === undefined || fields.contentLength === 0) return { kind: 'none' };
  return { kind: 'length', length: fields.contentLength };
}

function splitTarget(method: string, raw: string): { target: string; authority: string | undefined } {
  if (raw.startsWith('/')) {
    if (raw.includes('#')) throw new HttpParseError(400, 'a fragment in the request target');
    return { target: raw, authority: undefined };
  }
  if (raw === '*' && method === 'OPTIONS') return { target: raw, authority: undefined };
  const match = ABSOLUTE_TARGET.exec(raw);
  const authority = match?.[1];
  if (authority === undefined || !HOST.test(authority)) {
    throw new HttpParseError(400, 'a request target that is neither a path nor an http URL');
  }
  const rest = match?.[2] ?? '/';
  return { target: rest.startsWith('/') ? rest : `/${rest}`, authority };
}

function hostOf(fields: Fields, minorVersion: 0 | 1): string {
  let host: string | undefined;
  for (let index = 0; index < fields.names.length; index += 1) {
    if (fields.names[index] !== 'host') continue;
    if (host !== undefined) throw new HttpParseError(400, 'more than one Host');
    host = fields.list[index * 2 + 1] ?? '';
  }
  if (host === undefined) {
    if (minorVersion === 1) throw new HttpParseError(400, 'no Host');
    return '';
  }
  if (!HOST.test(host)) throw new HttpParseError(400, 'a malformed Host');
  return host;
}

function upgradeOf(fields: Fields, minorVersion: 0 | 1): string | undefined {
  if (minorVersion === 0 || !fields.connection.has('upgrade')) return undefined;
  const upgrade = fieldValue(fields, 'upgrade');
  // An upgrade may always be ignored (RFC 9110 §7.8); these must be, lest requests travel unseen inside.
  return upgrade === undefined || REFUSED_UPGRADES.test(upgrade) ? undefined : upgrade;
}

/** Fields of one hop, never forwarded (RFC 9110 §7.6.1); those we set ourselves are dropped here, too. */
const REQUEST_DROPPED: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'te',
  'trailer',
  'upgrade',
  'host',
  'content-length',
  'transfer-encoding',
  'http2-settings',
  'traceparent',
  'x-request-id',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'via',
]);

/** What the proxy adds to a forwarded request. */
export interface RequestAdditions {
  readonly clientAddress: string;
  readonly traceparent: string;
  readonly requestId: string;
}

/** The head as sent upstream: one canonical HTTP/1.1 form, framing said exactly once. latin1 text. */
export function composeRequestHead(head: RequestHead, additions: RequestAdditions): string {
  const { fields } = head;
  let text = `${head.method} ${head.target} HTTP/1.1\r\nhost: ${head.host}\r\n`;
  for (let index = 0; index < fields.names.length; index += 1) {
    const name = fields.names[index] ?? '';
    if (REQUEST_DROPPED.has(name) || fields.connection.has(name)) continue;
    text += `${fields.list[index * 2]}: ${fields.list[index * 2 + 1]}\r\n`;
  }
  if (head.framing.kind === 'length') text += `content-length: ${head.framing.length}\r\n`;
  else if (head.framing.kind === 'chunked') text += 'transfer-encoding: chunked\r\n';
  else if (fields.contentLength === 0) text += 'content-length: 0\r\n';
  if (head.upgrade !== undefined) text += `connection: upgrade\r\nupgrade: ${head.upgrade}\r\n`;
  return text + additionsText(head, additions);
}

function additionsText(head: RequestHead, additions: RequestAdditions): string {
  const { fields } = head;
  const before = fieldValue(fields, 'x-forwarded-for');
  const forwardedFor = before ? `${before}, ${additions.clientAddress}` : additions.clientAddress;
  const via = fieldValue(fields, 'via');
  return (
    `traceparent: ${additions.traceparent}\r\nx-request-id: ${additions.requestId}\r\n` +
    `x-forwarded-for: ${forwardedFor}\r\n` +
    `x-forwarded-proto: ${fieldValue(fields, 'x-forwarded-proto') ?? 'http'}\r\n` +
    `x-forwarded-host: ${fieldValue(fields, 'x-forwarded-host') ?? head.host}\r\n` +
    `via: ${via === undefined ? '' : `${via}, `}1.${head.minorVersion} heptad\r\n\r\n`
  );
}
