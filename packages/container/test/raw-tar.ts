// Tar archives byte by byte, for what no honest program would write.

/** One header, with whatever in its fields. */
export interface RawEntry {
  readonly name: string;
  /** The letter. Default '0', a file. */
  readonly type?: string;
  readonly linkName?: string;
  readonly content?: string | Buffer;
  /** As text in the field; default the octal length of the content. */
  readonly size?: string | Buffer;
  readonly mode?: string;
  readonly uid?: string | Buffer;
  readonly gid?: string;
  readonly mtime?: string | Buffer;
  readonly prefix?: string;
  readonly magic?: string;
  readonly device?: readonly [string, string];
  /** Instead of the right one. */
  readonly checksum?: string;
}

const octal = (value: number, length: number): string => value.toString(8).padStart(length - 1, '0');

/** Header, content and padding of one entry. */
export function rawEntry(entry: RawEntry): Buffer {
  const content = Buffer.from(entry.content ?? '');
  const block = Buffer.alloc(512);
  const put = (at: number, value: string | Buffer): void => {
    block.set(Buffer.from(value as string), at);
  };
  put(0, entry.name);
  put(100, entry.mode ?? '0000644');
  put(108, entry.uid ?? '0000000');
  put(116, entry.gid ?? '0000000');
  put(124, entry.size ?? octal(content.length, 12));
  put(136, entry.mtime ?? octal(1_000_000, 12));
  put(148, '        ');
  put(156, entry.type ?? '0');
  put(157, entry.linkName ?? '');
  put(257, entry.magic ?? 'ustar\u000000');
  if (entry.device !== undefined) {
    put(329, entry.device[0]);
    put(337, entry.device[1]);
  }
  put(345, entry.prefix ?? '');
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(148, entry.checksum ?? `${octal(sum, 7)}\0 `);
  return Buffer.concat([block, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

/** An archive of entries, with its end. */
export function rawTar(...entries: readonly (RawEntry | Buffer)[]): Buffer {
  return Buffer.concat([
    ...entries.map((entry) => (Buffer.isBuffer(entry) ? entry : rawEntry(entry))),
    Buffer.alloc(1024),
  ]);
}

/** A pax header for the entry after it. */
export function pax(records: Readonly<Record<string, string | Buffer>>, type = 'x'): Buffer {
  const parts = Object.entries(records).map(([key, value]) => {
    const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from('\n')]);
    let length = body.length;
    while (String(length).length + body.length !== length) length = String(length).length + body.length;
    return Buffer.concat([Buffer.from(String(length)), body]);
  });
  return rawEntry({ name: 'PaxHeaders/x', type, content: Buffer.concat(parts) });
}
