// The contract of a content store as cases, after containerd's suite (core/content/testsuite); in brackets its name there.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type ConformanceCase, conformanceCase, rejectsWith } from '@heptad/core/conformance';
import type { ContentStore } from '../../src/image/content-store.ts';
import type { BlobInfo, ContentWriter } from '../../src/image/content-writer.ts';
import { type Digest, digestOf } from '../../src/image/digest.ts';

/** A fresh store, and a second opening of it as another process would have. */
export interface ContentHarness extends AsyncDisposable {
  readonly store: ContentStore;
  /** The same store, opened again. */
  reopen(): Promise<ContentStore>;
  /** A store of its own. */
  other(): Promise<ContentStore>;
  /** Milliseconds since 1970, of the clock the store uses. */
  now(): number;
}

type Case = ConformanceCase<ContentHarness>;
const test = (name: string, body: (harness: ContentHarness) => Promise<void>): Case =>
  conformanceCase(name, body);

let seed = 0;

/** Bytes that no other call gives, the same in every run. */
function content(size: number): { bytes: Buffer; digest: Digest } {
  seed += 1;
  const chunks: Buffer[] = [];
  for (let length = 0, block = 0; length < size; length += 32, block += 1)
    chunks.push(createHash('sha256').update(`${seed} ${block}`).digest());
  const bytes = Buffer.concat(chunks).subarray(0, size);
  return { bytes, digest: digestOf(bytes) };
}

function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function between(value: number, from: number, to: number, what: string): void {
  assert.ok(value >= from && value <= to, `${what} is ${value}, expected between ${from} and ${to}`);
}

function present(info: BlobInfo | undefined): BlobInfo {
  assert.ok(info !== undefined, 'the blob is not in the store');
  return info;
}

const ROOT = { 'containerd.io/gc.root': 'suite' };

const writing: Case[] = [
  test('[Writer] blobs written in small pieces are found by their digest, with size, labels and time', async ({
    store,
    now,
  }) => {
    const samples = [256, 256, 256, 256, 8 * 1024 * 1024].map(content);
    const writers: ContentWriter[] = [];
    for (const [index, { bytes, digest }] of samples.entries()) {
      const expected = [{}, { size: bytes.length }, { digest }, { size: bytes.length, digest }][index % 4];
      writers.push(await store.writer(`c${index}`, expected));
    }
    for (const [index, { bytes, digest }] of samples.entries()) {
      const writer = writers[index];
      assert.ok(writer !== undefined);
      for (const piece of pieces(bytes, bytes.length > 1000 ? 65_536 : 32)) await writer.write(piece);
      assert.equal(writer.digest, digest);
      const before = now();
      await writer.commit({ labels: ROOT });
      const info = present(await store.info(digest));
      assert.deepEqual([info.digest, info.size, info.labels], [digest, bytes.length, ROOT]);
      between(info.createdAt, before, now(), 'createdAt');
      between(info.updatedAt, before, now(), 'updatedAt');
    }
  }),

  test('[UpdateStatus] the status follows what is written', async ({ store, now }) => {
    const { bytes, digest } = content(256);
    const began = now();
    const writer = await store.writer('c1', { size: 256, digest });
    const first = await writer.status();
    assert.deepEqual([first.ref, first.offset, first.total, first.expected], ['c1', 0, 256, digest]);
    between(first.startedAt, began, now(), 'startedAt');
    assert.equal(writer.digest, digestOf(''));
    await writer.write(bytes.subarray(0, 64));
    await writer.write(bytes.subarray(64, 128));
    assert.equal((await writer.status()).offset, 128);
    assert.equal(writer.digest, digestOf(bytes.subarray(0, 128)));
    assert.equal((await store.status('c1')).offset, 128);
    await writer.truncate();
    assert.equal((await writer.status()).offset, 0);
    await writer.write(bytes);
    const last = await writer.status();
    assert.deepEqual([last.offset, last.startedAt], [256, first.startedAt]);
    await writer.commit();
    await rejectsWith('CONTENT_NOT_FOUND', () => store.status('c1'));
  }),

  test('[CommitExists] what is here already is refused as such, with and without a digest', async ({
    store,
  }) => {
    const { bytes, digest } = content(256);
    await store.ingest('c1', [bytes], { digest });
    for (const [index, expected] of [{ digest }, {}].entries()) {
      const writer = await store.writer(`c1-${index}`);
      await writer.write(bytes);
      await rejectsWith('ALREADY_EXISTS', () => writer.commit({ size: 256, ...expected }));
      await rejectsWith('CONTENT_NOT_FOUND', () => store.status(`c1-${index}`));
    }
    await rejectsWith('ALREADY_EXISTS', () => store.writer('c1-2', { digest }));
    assert.equal((await store.ingest('c1-3', [bytes], { digest })).digest, digest);
  }),

  test('[CommitErrorState] a commit that fails frees the ref and keeps what was written, unless it is here', async ({
    store,
  }) => {
    const { bytes, digest } = content(256);
    const other = content(256).digest;
    const more = Buffer.concat([bytes, Buffer.from('more')]);
    await store.ingest('c1', [bytes]);
    const ref = 'c1-state';
    const inUse = (): Promise<unknown> => rejectsWith('REF_IN_USE', () => store.writer(ref));
    for (const expected of [{ digest }, {}]) {
      const writer = await store.writer(ref);
      assert.equal(writer.offset, 0);
      await writer.write(bytes);
      await inUse();
      await rejectsWith('ALREADY_EXISTS', () => writer.commit(expected));
      await writer.close();
    }
    let writer = await store.writer(ref);
    await writer.write(more);
    await rejectsWith('DIGEST_MISMATCH', () => writer.commit({ size: more.length, digest: other }));
    writer = await store.writer(ref);
    assert.equal(writer.offset, more.length);
    await inUse();
    await rejectsWith('DIGEST_MISMATCH', () => writer.commit({ size: bytes.length }));
    writer = await store.writer(ref);
    await writer.commit({ size: more.length });
    present(await store.info(digestOf(more)));
    writer = await store.writer(ref);
    assert.equal(writer.offset, 0);
    await writer.write(bytes);
    await rejectsWith('ALREADY_EXISTS', () => writer.commit({ digest }));
    writer = await store.writer(ref);
    await writer.truncate();
    await writer.close();
    await writer.close();
    writer = await store.writer(ref);
    assert.equal(writer.offset, 0);
    await writer.close();
  }),

  test('a commit that failed can still be aborted, and then nothing is left of it', async ({ store }) => {
    const writer = await store.writer('a');
    await writer.write(Buffer.from('wrong'));
    await rejectsWith('DIGEST_MISMATCH', () => writer.commit({ digest: digestOf('right') }));
    await writer.abort();
    await rejectsWith('CONTENT_NOT_FOUND', () => store.status('a'));
    await store.ingest('b', [Buffer.from('b')]);
    const done = await store.writer('c');
    await done.commit();
    await done.abort();
    present(await store.info(digestOf('')));
  }),

  test('[SmallBlob] reading at any place gives what is there and no more', async ({ store }) => {
    const bytes = Buffer.from('foobar');
    const { digest } = await store.ingest('small', [bytes], { size: 6, digest: digestOf(bytes) });
    await using reader = await store.readerAt(digest);
    assert.equal(reader.size, 6);
    assert.equal(Buffer.from(await reader.read(0, 7)).toString(), 'foobar');
    assert.equal(Buffer.from(await reader.read(3, 2)).toString(), 'ba');
    assert.equal((await reader.read(6, 5)).length, 0);
    assert.equal((await reader.read(99, 5)).length, 0);
    assert.equal((await collect(await store.read(digest, { start: 2, end: 3 }))).toString(), 'ob');
    await rejectsWith('CONTENT_NOT_FOUND', () => store.readerAt(digestOf('absent')));
  }),
];

const resuming: Case[] = [
  test('[Resume] a writer that was closed goes on where it was, with the same status', async ({
    store,
    now,
  }) => {
    const { bytes, digest } = content(256);
    const began = now();
    const first = await store.writer('cb', { size: 256, digest });
    await first.write(bytes.subarray(0, 128));
    const left = await first.status();
    await first.close();
    const second = await store.writer('cb', { size: 256, digest });
    assert.deepEqual(await second.status(), left);
    between(left.startedAt, began, now(), 'startedAt');
    assert.equal(second.digest, digestOf(bytes.subarray(0, 128)));
    await second.write(bytes.subarray(128));
    await second.commit();
    assert.equal(present(await store.info(digest)).size, 256);
  }),
];

type Resume = (store: ContentStore, writer: ContentWriter, bytes: Buffer, digest: Digest) => Promise<unknown>;
const RESUMES: Readonly<Record<string, Resume>> = {
  'ResumeTruncate] by starting over': async (_store, writer, bytes, digest) => {
    await writer.truncate();
    for (const piece of pieces(bytes, 1024)) await writer.write(piece);
    await writer.commit({ size: bytes.length, digest });
  },
  'ResumeDiscard] by writing what is missing': async (_store, writer, bytes, digest) => {
    for (const piece of pieces(bytes.subarray(writer.offset), 1024)) await writer.write(piece);
    await writer.commit({ size: bytes.length, digest });
  },
  'ResumeCopy] from a source that begins at the beginning': async (store, writer, bytes, digest) => {
    await store.resume(writer, pieces(bytes, 333), { size: bytes.length, digest });
  },
  'ResumeCopySeeker] from a source that can begin anywhere': async (store, writer, bytes, digest) => {
    const from = async function* (offset: number): AsyncGenerator<Uint8Array> {
      yield* pieces(bytes.subarray(offset), 333);
    };
    await store.resume(writer, from, { size: bytes.length, digest });
  },
  'ResumeCopyReaderAt] from another store, read at the offset': async (store, writer, bytes, digest) => {
    const { digest: source } = await store.ingest('source', [Buffer.concat([bytes, Buffer.from('!')])]);
    await using reader = await store.readerAt(source);
    const from = async function* (offset: number): AsyncGenerator<Uint8Array> {
      for (let at = offset; at < bytes.length; at += 512)
        yield await reader.read(at, Math.min(512, bytes.length - at));
    };
    await store.resume(writer, from, { size: bytes.length, digest });
  },
};

for (const [name, resume] of Object.entries(RESUMES)) {
  resuming.push(
    test(`[${name}, whatever was written before`, async ({ store }) => {
      for (const size of [500, 5_000, 50_000]) {
        for (const part of [0, 0.1, 0.5, 0.9, 1]) {
          const { bytes, digest } = content(size);
          const ref = `ref-${size}-${part}`;
          const first = await store.writer(ref, { size, digest });
          await first.write(bytes.subarray(0, size * part));
          await first.close();
          const second = await store.writer(ref, { size, digest });
          assert.equal((await second.status()).offset, size * part);
          await resume(store, second, bytes, digest);
          await second.close();
          assert.equal(present(await store.info(digest)).size, size);
        }
      }
    }),
  );
}

const managing: Case[] = [
  test('[Labels] are set at commit, replaced as a whole, and changed one by one', async ({ store, now }) => {
    const { bytes, digest } = content(256);
    const writer = await store.writer('l');
    await writer.write(bytes);
    const before = now();
    await writer.commit({ labels: { ...ROOT, k1: 'v1', k2: 'v2' } });
    const made = present(await store.info(digest));
    assert.deepEqual(made.labels, { ...ROOT, k1: 'v1', k2: 'v2' });
    await store.update(digest, { labels: { ...ROOT, k1: 'new', k3: 'v3' } });
    const replaced = present(await store.info(digest));
    assert.deepEqual(replaced.labels, { ...ROOT, k1: 'new', k3: 'v3' });
    assert.equal(replaced.createdAt, made.createdAt);
    between(replaced.updatedAt, before, now(), 'updatedAt');
    await store.update(digest, { labels: { k1: 'v1' } }, ['labels.k3', 'labels.k1']);
    assert.deepEqual(present(await store.info(digest)).labels, { ...ROOT, k1: 'v1' });
    await rejectsWith('INVALID_ARGUMENT', () => store.update(digest, { labels: {} }, ['size']));
    await rejectsWith('CONTENT_NOT_FOUND', () => store.update(digestOf('absent'), { labels: {} }));
    await rejectsWith('INVALID_ARGUMENT', () => store.update(digest, { labels: { k: 'v'.repeat(5_000) } }));
  }),

  test('walks over all blobs or those a filter accepts; deletes blob and labels', async ({ store }) => {
    const one = await store.ingest('1', [Buffer.from('one')], { labels: { kind: 'a' } });
    const two = await store.ingest('2', [Buffer.from('three')]);
    const all: string[] = [];
    for await (const { digest } of store.list()) all.push(digest);
    assert.deepEqual(all.sort(), [one.digest, two.digest].sort());
    const labelled: string[] = [];
    for await (const { digest } of store.list(({ labels }) => labels.kind === 'a')) labelled.push(digest);
    assert.deepEqual(labelled, [one.digest]);
    await store.delete(one.digest);
    await store.delete(one.digest);
    assert.equal(await store.info(one.digest), undefined);
    assert.deepEqual((await store.ingest('1', [Buffer.from('one')])).labels, {});
    assert.deepEqual(present(await store.info(one.digest)).labels, {});
  }),

  test('lists what is being written by ref, and aborts it', async ({ store }) => {
    const writer = await store.writer('layer-1', { size: 10 });
    await writer.write(Buffer.from('12345'));
    await (await store.writer('manifest-1')).close();
    const refs = async (filter?: RegExp): Promise<string[]> =>
      (await store.statuses(filter)).map(({ ref, offset }) => `${ref} ${offset}`).sort();
    assert.deepEqual(await refs(), ['layer-1 5', 'manifest-1 0']);
    assert.deepEqual(await refs(/^layer/), ['layer-1 5']);
    await rejectsWith('REF_IN_USE', () => store.abort('layer-1'));
    await writer.close();
    await store.abort('layer-1');
    await store.abort('manifest-1');
    assert.deepEqual(await refs(), []);
    await rejectsWith('CONTENT_NOT_FOUND', () => store.abort('layer-1'));
    await rejectsWith('INVALID_ARGUMENT', () => store.writer(''));
  }),
];

const sharing: Case[] = [
  test('[CrossNamespaceShare] what one opening wrote, another has', async ({ store, reopen }) => {
    const { bytes, digest } = content(1_000);
    await store.ingest('ref', [bytes], { digest });
    const second = await reopen();
    await rejectsWith('ALREADY_EXISTS', () => second.writer('ref', { digest, size: 1_000 }));
    assert.deepEqual(await collect(await second.read(digest)), bytes);
  }),

  test('[CrossNamespaceAppend] one goes on with what another began, and only one at a time', async ({
    store,
    reopen,
  }) => {
    const { bytes } = content(1_000);
    const second = await reopen();
    const writer = await store.writer('ref');
    await writer.write(bytes);
    await rejectsWith('REF_IN_USE', () => second.writer('ref'));
    await writer.close();
    const next = await second.writer('ref');
    assert.equal(next.offset, 1_000);
    await next.write(Buffer.from('appended bytes'));
    const whole = Buffer.concat([bytes, Buffer.from('appended bytes')]);
    await next.commit({ size: whole.length, digest: digestOf(whole) });
    assert.equal(present(await store.info(digestOf(whole))).size, whole.length);
  }),

  test('[CrossNamespaceIsolate, SharedNamespaceIsolate] a store of its own has neither blobs nor writes', async ({
    store,
    other,
  }) => {
    const { bytes, digest } = content(1_000);
    await store.ingest('ref', [bytes], { digest });
    const begun = await store.writer('begun');
    await begun.write(bytes);
    const second = await other();
    assert.equal(await second.info(digest), undefined);
    const writer = await second.writer('begun');
    assert.deepEqual([writer.offset, writer.digest], [0, digestOf('')]);
    await writer.close();
    await begun.close();
  }),
];

/** Every case. */
export const contentSuite: readonly Case[] = [...writing, ...resuming, ...managing, ...sharing];
