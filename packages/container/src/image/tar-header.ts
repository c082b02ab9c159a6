// One header block of a tar archive, and the records of a pax extended header: bytes to facts, nothing believed.

import { invalidEntry } from './layer-errors.ts';

/** What kind of thing an entry is. `sparse` and `unknown` are refused by whoever extracts. */
export type TarType =
  | 'file'
  | 'link'
  | 'symlink'
  | 'character-device'
  | 'block-device'
  | 'directory'
  | 'fifo'
  | 'sparse'
  | 'unknown';

/** An entry. Names are binary strings (one character per byte): file names need not be text. */
export interface TarHeader {
  readonly name: string;
  readonly linkName: string;
  readonly type: TarType;
  /** The letter in the archive. */
  readonly flag: string;
  /** Bytes of content that follow. */
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly devMajor: number;
  readonly devMinor: number;
  /** Extended attributes by name (`user.x`, `security.capability`), their values as they are. */
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** Records of a pax header that change the next entry. */
export interface PaxRecords {
  readonly path?: string;
  readonly linkPath?: string;
  readonly size?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly isSparse?: boolean;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

export const BLOCK = 512;
const XATTR_PREFIX = 'SCHILY.xattr.';
const TYPES: Readonly<Record<string, TarType>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
  S: 'sparse',
};
// Times far outside of what file systems store would be cut by each in its own way.
const MAX_TIME_SECONDS = 2 ** 34;

/** Whether a block is all zeros: two of them end an archive. */
export function isZeroBlock(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/** Reads a header block. Throws `ARCHIVE_INVALID` unless checksum and every number are right. */
export function parseHeader(block: Buffer): TarHeader {
  const name = text(block, 0, 100);
  verifyChecksum(block, name);
  const number = (at: number, length: number, what: string): number =>
    parseNumber(block, at, length, name, what);
  const flag = String.fromCharCode(block[156] ?? 0);
  // Only POSIX archives have a name prefix there; GNU's keep times.
  const prefix = text(block, 257, 6) === 'ustar' && block[262] === 0 ? text(block, 345, 155) : '';
  const full = prefix === '' ? name : `${prefix}/${name}`;
  const type = typeOf(flag, full);
  const size = number(124, 12, 'size');
  if (size < 0) throw invalidEntry(full, 'BAD_HEADER', `has a negative size`);
  return {
    ...{ name: full, linkName: text(block, 157, 100), type, flag },
    // Like Go's reader, which Docker and containerd use: these have no content, whatever the field says.
    size: hasNoContent(type) ? 0 : size,
    mode: number(100, 8, 'mode') & 0o7777,
    uid: number(108, 8, 'uid'),
    gid: number(116, 8, 'gid'),
    mtime: clampTime(number(136, 12, 'time')),
    devMajor: isDevice(type) ? number(329, 8, 'device number') : 0,
    devMinor: isDevice(type) ? number(337, 8, 'device number') : 0,
    xattrs: new Map(),
  };
}

/** The entry that a header becomes with the extended records before it. */
export function extendHeader(
  header: TarHeader,
  pax: PaxRecords,
  gnu: { name?: string; linkName?: string },
): TarHeader {
  const name = pax.path ?? gnu.name ?? header.name;
  const type = pax.isSparse === true ? 'sparse' : typeOf(header.flag, name);
  return {
    ...header,
    ...{ name, type, linkName: pax.linkPath ?? gnu.linkName ?? header.linkName },
    size: hasNoContent(type) ? 0 : (pax.size ?? header.size),
    uid: pax.uid ?? header.uid,
    gid: pax.gid ?? header.gid,
    mtime: clampTime(pax.mtime ?? header.mtime),
    xattrs: pax.xattrs,
  };
}

/** Reads the records of a pax header: `LENGTH KEY=VALUE\n`, the length in decimal and of the whole record. */
export function parsePax(bytes: Buffer, owner: string): PaxRecords {
  const bad = (why: string): Error => invalidEntry(owner, 'BAD_HEADER', `has an extended header that ${why}`);
  const values = new Map<string, Buffer>();
  const xattrs = new Map<string, Buffer>();
  let isSparse = false;
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 ? '' : bytes.toString('latin1', at, space);
    if (!/^[0-9]{1,8}$/.test(digits)) throw bad('has no length');
    const end = at + Number(digits);
    if (end <= space || end > bytes.length || bytes[end - 1] !== 0x0a) throw bad('has a wrong length');
    const equals = bytes.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) throw bad('has a record without "="');
    const key = bytes.toString('latin1', space + 1, equals);
    const value = bytes.subarray(equals + 1, end - 1);
    if (key.startsWith(XATTR_PREFIX)) xattrs.set(key.slice(XATTR_PREFIX.length), Buffer.from(value));
    else if (key.startsWith('GNU.sparse.')) isSparse = true;
    else values.set(key, value);
    at = end;
  }
  const string = (key: string): string | undefined => {
    const value = values.get(key)?.toString('latin1');
    // An empty value withdraws an earlier one.
    if (value === undefined || value === '') return undefined;
    if (value.includes('\0')) throw bad(`has a zero byte in its ${key}`);
    return value;
  };
  const number = (key: string, form: RegExp): number | undefined => {
    const value = string(key);
    if (value === undefined) return undefined;
    if (!form.test(value) || !Number.isSafeInteger(Math.trunc(Number(value))))
      throw bad(`has a wrong ${key}`);
    return Number(value);
  };
  const [path, linkPath] = [string('path'), string('linkpath')];
  const [size, uid, gid] = ['size', 'uid', 'gid'].map((key) => number(key, /^[0-9]{1,19}$/));
  const mtime = number('mtime', /^-?[0-9]{1,19}(\.[0-9]{0,32})?$/);
  return {
    ...(path === undefined ? {} : { path }),
    ...(linkPath === undefined ? {} : { linkPath }),
    ...(size === undefined ? {} : { size }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(mtime === undefined ? {} : { mtime }),
    ...{ isSparse, xattrs },
  };
}

/** A long name or link target of GNU tar: bytes up to the first zero. */
export function parseGnuName(bytes: Buffer): string {
  return text(bytes, 0, bytes.length);
}

function typeOf(flag: string, name: string): TarType {
  // Before POSIX, a directory was a file whose name ends in a slash.
  return flag === '\0' && name.endsWith('/') ? 'directory' : (TYPES[flag] ?? 'unknown');
}

function hasNoContent(type: TarType): boolean {
  return type !== 'file' && type !== 'sparse' && type !== 'unknown';
}

function isDevice(type: TarType): boolean {
  return type === 'character-device' || type === 'block-device';
}

function clampTime(seconds: number): number {
  return Math.max(-MAX_TIME_SECONDS, Math.min(MAX_TIME_SECONDS, seconds));
}

function text(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end < 0 || end > at + length ? at + length : end);
}

function verifyChecksum(block: Buffer, name: string): void {
  const stated = parseNumber(block, 148, 8, name, 'checksum');
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < BLOCK; at += 1) {
    const byte = at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
    unsigned += byte;
    // Some old programs added the bytes up as signed characters.
    signed += byte > 127 ? byte - 256 : byte;
  }
  if (stated !== unsigned && stated !== signed)
    throw invalidEntry(name, 'BAD_HEADER', 'has a wrong checksum');
}

/** Octal text, or binary when the first bit is set (GNU, for what octal cannot hold). */
function parseNumber(block: Buffer, at: number, length: number, name: string, what: string): number {
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) {
    const isNegative = (first & 0x40) !== 0;
    let value = BigInt(isNegative ? first | ~0xff : first & 0x3f);
    for (const byte of block.subarray(at + 1, at + length)) value = value * 256n + BigInt(byte);
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw invalidEntry(name, 'BAD_HEADER', `has an impossible ${what}`);
    return number;
  }
  const digits = block.toString('latin1', at, at + length).replace(/^[ \0]+|[ \0].*$/gs, '');
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw invalidEntry(name, 'BAD_HEADER', `has a wrong ${what}`);
  return Number.parseInt(digits, 8);
}
