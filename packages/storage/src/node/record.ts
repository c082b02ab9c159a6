// The file of one object version: a header that protects itself and the bytes it protects.
//
//   offset  bytes  meaning
//   0       8      magic "HEPTOBJ1"
//   8       4      length of the header, little endian
//   12      4      CRC-32 of the header, little endian
//   16      n      header: JSON text of VersionHeader
//   16+n    m      the object's bytes, m = sizeBytes
//
// The file's name is <object id>-<tag>. So the tag is known even when the whole content is damaged, and a node never
// answers "I have nothing" about a version it once acknowledged.

import { crc32 } from 'node:zlib';
import { parseVersionHeader, sha256Hex, type VersionHeader } from '../model/version.ts';

const MAGIC = Buffer.from('HEPTOBJ1');
const PREFIX_BYTES = 16;
/** A header is a key, its metadata and fixed fields; escaping can make each byte six. */
const MAX_HEADER_BYTES = 64 * 1024;
/** One read of this size holds the whole header of nearly every object. */
const FIRST_READ_BYTES = 2048;

/** Why a record cannot be trusted. */
export class DamagedRecord extends Error {}

/** Reads a part of a file: up to `length` bytes at `offset`. */
export type ReadAt = (offset: number, length: number) => Promise<Uint8Array>;

/** The bytes of a version's file. */
export function encodeRecord(header: VersionHeader, body: Uint8Array): Uint8Array {
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  MAGIC.copy(prefix);
  prefix.writeUInt32LE(text.length, 8);
  prefix.writeUInt32LE(crc32(text), 12);
  return Buffer.concat([prefix, text, body]);
}

/** Reads and checks the header. Throws {@link DamagedRecord}. */
export async function readRecordHeader(
  readAt: ReadAt,
): Promise<{ header: VersionHeader; bodyOffset: number }> {
  let head = Buffer.from(await readAt(0, FIRST_READ_BYTES));
  if (head.length < PREFIX_BYTES || !head.subarray(0, 8).equals(MAGIC)) {
    throw new DamagedRecord('the file does not begin as an object file');
  }
  const length = head.readUInt32LE(8);
  if (length > MAX_HEADER_BYTES) throw new DamagedRecord(`a header of ${length} bytes cannot be`);
  if (head.length < PREFIX_BYTES + length) head = Buffer.from(await readAt(0, PREFIX_BYTES + length));
  const text = head.subarray(PREFIX_BYTES, PREFIX_BYTES + length);
  if (text.length < length) throw new DamagedRecord('the file ends within its header');
  if (crc32(text) !== head.readUInt32LE(12)) throw new DamagedRecord('the header fails its CRC-32');
  try {
    return { header: parseVersionHeader(text.toString('utf8')), bodyOffset: PREFIX_BYTES + length };
  } catch (cause) {
    throw new DamagedRecord('the header is no version header', { cause });
  }
}

/** Reads and checks a whole record. Throws {@link DamagedRecord}. */
export async function readRecord(readAt: ReadAt): Promise<{ header: VersionHeader; body: Uint8Array }> {
  const { header, bodyOffset } = await readRecordHeader(readAt);
  // One byte more than expected, so that a file that is too long is noticed too.
  const body = await readAt(bodyOffset, header.sizeBytes + 1);
  if (body.length !== header.sizeBytes) {
    throw new DamagedRecord(`the file holds ${body.length} bytes where its header says ${header.sizeBytes}`);
  }
  const actual = sha256Hex(body);
  if (actual !== header.sha256) {
    throw new DamagedRecord(`the bytes hash to ${actual} where the header says ${header.sha256}`);
  }
  return { header, body };
}
