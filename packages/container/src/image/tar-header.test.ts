import { isHeptadError } from '@heptad/core';
import fc from 'fast-check';
import tar, { type Header } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { extendHeader, parseHeader, parsePax, type TarHeader } from './tar-header.ts';
import { TarReader } from './tar-reader.ts';

async function headers(bytes: Uint8Array, pieces = bytes.length): Promise<[TarHeader, string][]> {
  const source = async function* (): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += pieces) yield bytes.subarray(at, at + pieces);
  };
  const reader = new TarReader(source(), { maxEntries: 1_000 });
  const found: [TarHeader, string][] = [];
  for (let header = await reader.next(); header !== undefined; header = await reader.next()) {
    const chunks: Uint8Array[] = [];
    for (let chunk = await reader.chunk(); chunk !== undefined; chunk = await reader.chunk())
      chunks.push(Uint8Array.from(chunk));
    found.push([header, Buffer.concat(chunks).toString('latin1')]);
  }
  return found;
}

async function packed(
  entries: readonly (Partial<Header> & { name: string; content: string })[],
): Promise<Buffer> {
  const pack = tar.pack();
  for (const { content, ...header } of entries) pack.entry(header, content);
  pack.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of pack as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('reading tar archives', () => {
  it('what another program packs comes out as it was, in whatever pieces it arrives', async () => {
    const name = fc.stringMatching(/^[a-zA-Zéß日._-]{1,40}(\/[a-zéß日._-]{1,60}){0,4}$/);
    const entry = fc.record({
      name,
      content: fc.string({ maxLength: 1_500, unit: 'binary-ascii' }),
      mode: fc.integer({ min: 1, max: 0o7777 }),
      // As far as the program that packs goes.
      uid: fc.integer({ min: 0, max: 0o777777 }),
      mtime: fc.integer({ min: 0, max: 2_147_483_647 }).map((seconds) => new Date(seconds * 1000)),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(entry, { maxLength: 5 }),
        fc.integer({ min: 1, max: 2_000 }),
        async (entries, size) => {
          const found = await headers(await packed(entries), size);
          expect(
            found.map(([header, content]) => [
              Buffer.from(header.name, 'latin1').toString(),
              content,
              header.mode,
              header.uid,
              header.mtime,
            ]),
          ).toEqual(
            entries.map((each) => [
              each.name,
              each.content,
              each.mode,
              each.uid,
              each.mtime.getTime() / 1000,
            ]),
          );
        },
      ),
      { numRuns: 200 },
    );
  });

  it('any bytes are read or refused with a code, and never more than there are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 3_000 }),
        fc.integer({ min: 1, max: 700 }),
        async (bytes, size) => {
          await headers(bytes, size).catch((error: unknown) => {
            expect(isHeptadError(error)).toBe(true);
          });
        },
      ),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          parsePax(Buffer.from(bytes), 'x');
        } catch (error) {
          expect(isHeptadError(error, 'ARCHIVE_INVALID')).toBe(true);
        }
      }),
    );
  });

  it('an extended size counts for what follows, as in the programs that made the image', async () => {
    // Two readers that disagree about where content ends can be shown two different archives.
    const header = parseHeader((await packed([{ name: 'f', content: 'x'.repeat(700) }])).subarray(0, 512));
    const pax = parsePax(Buffer.from('11 size=12\n'), 'f');
    expect(extendHeader(header, pax, {}).size).toBe(12);
    expect(extendHeader({ ...header, type: 'directory', flag: '5' }, pax, {}).size).toBe(0);
  });
});
