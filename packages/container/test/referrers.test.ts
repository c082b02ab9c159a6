// What is attached to an image: found by its digest, kept as long as it, gone with it.

import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildNodeImage, ContainerEngine, ImageStore } from '@heptad/container';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../src/image/digest.ts';
import { type Descriptor, MEDIA_TYPE } from '../src/image/manifest.ts';
import { MAX_REFERRERS } from '../src/image/referrers.ts';
import { temporaryDirectory } from './support.ts';

let home: string;
let images: ImageStore;
let subject: string;

beforeEach(async () => {
  home = await temporaryDirectory();
  images = await ImageStore.open({ home: join(home, 'images') });
  await mkdir(join(home, 'app'));
  await writeFile(join(home, 'app', 'main.mjs'), 'console.log(1)');
  const built = await buildNodeImage({
    images,
    name: 'app',
    directory: join(home, 'app'),
    main: 'main.mjs',
    nodeBinary: '/bin/true',
    tools: [],
    sbom: false,
  });
  subject = built.digest;
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

async function put(value: unknown, mediaType: string): Promise<Descriptor> {
  const bytes = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  const digest = digestOf(bytes);
  await images.content.ingest(`test-${digest}`, [bytes], { digest });
  return { mediaType, digest, size: bytes.length };
}

async function artifact(text: string, about: string | undefined): Promise<Descriptor> {
  return await put(
    {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.manifest,
      artifactType: 'text/x-note',
      config: await put('{}', MEDIA_TYPE.empty),
      layers: [await put(text, 'text/plain')],
      ...(about === undefined ? {} : { subject: { mediaType: MEDIA_TYPE.manifest, digest: about, size: 1 } }),
    },
    MEDIA_TYPE.manifest,
  );
}

describe('referrers', () => {
  it('are found by their subject, and by what they are', async () => {
    const one = await artifact('one', subject);
    await images.attach(one);
    await images.attach(one);
    const tagged = await artifact('two', undefined);
    await images.attach(tagged, { subject, tag: `sha256-${subject.slice(7)}.sig` });
    const found = await images.referrers(subject);
    expect(found.map(({ descriptor }) => descriptor.digest).sort()).toEqual(
      [one.digest, tagged.digest].sort(),
    );
    expect(await images.referrers(subject, { artifactType: 'text/x-note' })).toHaveLength(2);
    expect(await images.referrers(subject, { artifactType: 'other' })).toEqual([]);
    expect(await images.referrers(one.digest)).toEqual([]);
  });

  it('what has a tag replaces what had it, and a manifest about nothing is refused', async () => {
    const tag = `sha256-${subject.slice(7)}.sig`;
    await images.attach(await artifact('old', undefined), { subject, tag });
    const young = await artifact('new', undefined);
    await images.attach(young, { subject, tag });
    expect((await images.referrers(subject)).map(({ descriptor }) => descriptor.digest)).toEqual([
      young.digest,
    ]);
    await expect(images.attach(young)).rejects.toMatchObject({ code: 'IMAGE_INVALID' });
  });

  it('live as long as their subject, those of a referrer too', async () => {
    const note = await artifact('note', subject);
    await images.attach(note);
    const onNote = await artifact('note on the note', note.digest);
    await images.attach(onNote);
    expect((await images.gc({ minimumAgeMs: -1000 })).blobs).toBe(0);
    await images.remove('app');
    await images.gc({ minimumAgeMs: -1000 });
    expect(await images.content.info(onNote.digest)).toBeUndefined();
    expect(await images.referrers(subject)).toEqual([]);
    expect(await images.referrerIndex.subjects()).toEqual([]);
  });

  it('are not listed as images, and are bounded in number', async () => {
    await images.attach(await artifact('note', subject));
    expect((await images.list()).map(({ name }) => name)).toEqual(['app:latest']);
    const descriptor = { mediaType: MEDIA_TYPE.manifest, digest: subject, size: 1 };
    for (let index = 0; index < MAX_REFERRERS; index += 1)
      await images.referrerIndex.add(digestOf('x'), { descriptor, artifactType: 'a', tag: `t${index}` });
    await expect(
      images.referrerIndex.add(digestOf('x'), { descriptor, artifactType: 'a', tag: 'more' }),
    ).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
  });

  it('a damaged entry is found by check and dropped by repair, and a lost manifest says nothing', async () => {
    const kept = await artifact('kept', subject);
    const lost = await artifact('lost', subject);
    for (const one of [kept, lost]) await images.attach(one);
    await writeFile(join(images.referrerIndex.of(subject), `${'0'.repeat(64)}.json`), '{"half');
    await using engine = await ContainerEngine.open({
      home: join(home, 'engine'),
      imagesHome: images.home,
      runtime: 'process',
      network: 'none',
    });
    await expect(images.referrers(subject)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    expect((await engine.check()).damage).toMatchObject([{ what: 'referrer' }]);
    await engine.repair();
    await images.content.delete(lost.digest);
    expect((await engine.check()).ok).toBe(true);
    expect((await images.referrers(subject)).map(({ descriptor }) => descriptor.digest)).toEqual([
      kept.digest,
    ]);
  });
});
