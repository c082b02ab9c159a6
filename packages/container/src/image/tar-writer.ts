// Writes entries of a tar archive as TarReader tells them: ustar headers, with pax records for what does not fit.

import { BLOCK, type TarHeader } from './tar-header.ts';

// What the octal fields of ustar hold.
const MAX_OCTAL_8 = 0o7777777;
const MAX_OCTAL_12 = 0o77777777777;
const MAX_NAME_BYTES = 100;

/** The blocks before an entry's content. */
export function entryBlocks(header: TarHeader): Buffer {
  const records = paxRecords(header);
  if (records.length === 0) return headerBlock(header);
  const pax: TarHeader = {
    ...header,
    name: `PaxHeaders/${header.name.slice(-80)}`,
    linkName: '',
    flag: 'x',
    size: records.length,
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: Math.max(0, Math.trunc(header.mtime)),
    devMajor: 0,
    devMinor: 0,
    xattrs: new Map(),
  };
  return Buffer.concat([headerBlock(pax), records, padding(records.length), headerBlock(header)]);
}

/** Zeros up to the next block after `size` bytes of content. */
export function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

/** What ends an archive. */
export function endOfArchive(): Buffer {
  return Buffer.alloc(2 * BLOCK);
}

function paxRecords(header: TarHeader): Buffer {
  const records: Buffer[] = [];
  const add = (key: string, value: Buffer): void => {
    records.push(paxRecord(key, value));
  };
  const binary = (value: string): Buffer => Buffer.from(value, 'latin1');
  if (header.name.length > MAX_NAME_BYTES) add('path', binary(header.name));
  if (header.linkName.length > MAX_NAME_BYTES) add('linkpath', binary(header.linkName));
  if (header.size > MAX_OCTAL_12) add('size', binary(String(header.size)));
  if (header.uid > MAX_OCTAL_8) add('uid', binary(String(header.uid)));
  if (header.gid > MAX_OCTAL_8) add('gid', binary(String(header.gid)));
  if (header.mtime < 0 || !Number.isInteger(header.mtime)) add('mtime', binary(String(header.mtime)));
  for (const [name, value] of header.xattrs) add(`SCHILY.xattr.${name}`, value);
  return Buffer.concat(records);
}

/** `LENGTH KEY=VALUE\n`; the length counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function headerBlock(header: TarHeader): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (at: number, length: number, value: number): void => {
    block.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
  };
  block.write(header.name.slice(0, MAX_NAME_BYTES), 0, 'latin1');
  octal(100, 8, header.mode);
  octal(108, 8, header.uid > MAX_OCTAL_8 ? 0 : header.uid);
  octal(116, 8, header.gid > MAX_OCTAL_8 ? 0 : header.gid);
  octal(124, 12, header.size > MAX_OCTAL_12 ? 0 : header.size);
  octal(136, 12, Math.max(0, Math.trunc(header.mtime)));
  block.fill(0x20, 148, 156);
  block.write(header.flag === '\0' ? '0' : header.flag, 156, 'latin1');
  block.write(header.linkName.slice(0, MAX_NAME_BYTES), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  octal(329, 8, header.devMajor);
  octal(337, 8, header.devMinor);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
