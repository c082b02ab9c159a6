// An archive as it comes from clients, gzip or zstd compressed or not, as a plain tar stream.

import type { Readable, Transform } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { ContainerError } from '../errors.ts';

const GZIP = Buffer.from([0x1f, 0x8b]);
const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const BZIP2 = Buffer.from('BZh');
const XZ = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a]);
const MAGIC_BYTES = 5;

/** Looks at the first bytes and decompresses when they say so. Throws `NOT_SUPPORTED` for bzip2 and xz. */
export async function* plainTar(source: Readable): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < MAGIC_BYTES) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = Buffer.concat([head, Buffer.from(next.value)]);
  }
  const starts = (magic: Buffer): boolean => head.subarray(0, magic.length).equals(magic);
  if (starts(BZIP2) || starts(XZ)) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      'cannot unpack the archive: it is compressed with bzip2 or xz',
      {
        hint: 'send it as tar, gzip or zstd',
      },
    );
  }
  const raw = async function* (): AsyncGenerator<Uint8Array> {
    if (head.length > 0) yield head;
    for (;;) {
      const next = await iterator.next();
      if (next.done === true) return;
      yield next.value;
    }
  };
  const inflate: Transform | undefined = starts(GZIP)
    ? createGunzip()
    : starts(ZSTD)
      ? createZstdDecompress()
      : undefined;
  if (inflate === undefined) {
    yield* raw();
    return;
  }
  feed(raw(), inflate);
  for await (const chunk of inflate) yield chunk;
}

function feed(source: AsyncIterable<Uint8Array>, target: Transform): void {
  const run = async (): Promise<void> => {
    for await (const chunk of source) {
      if (target.destroyed) return;
      if (!target.write(chunk))
        await new Promise((resolve) => target.once('drain', resolve).once('close', resolve));
    }
    target.end();
  };
  run().catch((error: unknown) => target.destroy(error instanceof Error ? error : new Error(String(error))));
}
