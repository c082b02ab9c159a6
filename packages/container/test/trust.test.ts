// Trust: signatures made, found and judged; and a policy that holds at pull and at create, against every way round it.

import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  buildNodeImage,
  ContainerEngine,
  generateSigningKeys,
  ImageStore,
  type ImageStoreOptions,
  RegistryClient,
  type SigningKeys,
  signImage,
  type TrustPolicy,
  type TrustRequirement,
  verifyImage,
} from '@heptad/container';
import type { Clock } from '@heptad/core';
import { systemClock } from '@heptad/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { attachArtifact, putBytes, putJson } from '../src/image/documents.ts';
import { type Descriptor, MEDIA_TYPE, parseManifest } from '../src/image/manifest.ts';
import { PAYLOAD_MEDIA_TYPE } from '../src/trust/claims.ts';
import { SIGNATURE_ANNOTATION, signatureTag } from '../src/trust/signatures.ts';
import { verifyDigests } from '../src/trust/verify-image.ts';
import { BUNDLE_MANIFEST, COSIGN_BUNDLE, COSIGN_PUBLIC_KEY } from './cosign-vectors.ts';
import { noRegistry, type Registry, startRegistry } from './registry-support.ts';
import { temporaryDirectory } from './support.ts';

let home: string;
let images: ImageStore;
let alice: SigningKeys;
let bob: SigningKeys;
const NAME = 'registry.example/team/app:1';

beforeAll(async () => {
  alice = await generateSigningKeys();
  bob = await generateSigningKeys();
});

beforeEach(async () => {
  home = await temporaryDirectory();
  images = await openStore();
  await build(images, NAME);
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

async function openStore(options: Partial<ImageStoreOptions> = {}): Promise<ImageStore> {
  return await ImageStore.open({ home: join(home, 'images'), ...options });
}

async function build(store: ImageStore, name: string, text = '1'): Promise<string> {
  const directory = join(home, 'app');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'index.js'), `console.log(${text})`);
  const small = { nodeBinary: '/bin/true', tools: [], sbom: false };
  return (await buildNodeImage({ images: store, name, directory, ...small })).digest;
}

/** Attaches signatures as an attacker could: any payload, any text for a signature. */
async function forge(subject: string, payload: string, signature: string): Promise<void> {
  const layer = await putBytes(images, Buffer.from(payload), PAYLOAD_MEDIA_TYPE);
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config: await putJson(images, {}, MEDIA_TYPE.config),
    layers: [{ ...layer, annotations: { [SIGNATURE_ANNOTATION]: signature } }],
  };
  const target = await putJson(images, manifest, MEDIA_TYPE.manifest);
  await images.attach(target, { subject, tag: signatureTag(subject) });
}

/** The payload and the signature of an image that is signed once. */
async function signatureOf(
  digest: string,
): Promise<{ payload: string; signature: string; layer: Descriptor }> {
  const referrer = (await images.referrers(digest)).find(({ tag }) => tag !== undefined);
  const manifest = parseManifest(await images.content.readBytes(referrer?.descriptor.digest ?? '', 100_000));
  const [layer] = manifest.layers;
  if (layer === undefined) throw new Error('no signature');
  const payload = Buffer.from(await images.content.readBytes(layer.digest, 100_000)).toString();
  return { payload, signature: layer.annotations?.[SIGNATURE_ANNOTATION] ?? '', layer };
}

const refusal = (part: string | RegExp): object => ({
  code: 'IMAGE_NOT_TRUSTED',
  message: typeof part === 'string' ? expect.stringContaining(part) : expect.stringMatching(part),
});

describe('a signature', () => {
  it('by a known key counts, in either layout alone and in both', async () => {
    for (const layout of ['tag', 'referrer', 'both'] as const) {
      const digest = await build(images, NAME, `"${layout}"`);
      const signed = await signImage(images, NAME, { key: alice.privateKey, layout });
      expect(signed).toMatchObject({ digest, repository: 'registry.example/team/app', added: true });
      const { signatures } = await verifyImage(images, NAME, { keys: [alice.publicKey] });
      expect(signatures).toMatchObject([{ digest, reference: 'registry.example/team/app' }]);
      expect(await images.referrers(digest)).toHaveLength(layout === 'both' ? 2 : 1);
    }
  });

  it('is needed: without one an image is not trusted', async () => {
    await expect(verifyImage(images, NAME, { keys: [alice.publicKey] })).rejects.toMatchObject(
      refusal('it has no signature'),
    );
  });

  it('by another key does not count', async () => {
    await signImage(images, NAME, { key: bob.privateKey });
    await expect(verifyImage(images, NAME, { keys: [alice.publicKey] })).rejects.toMatchObject(
      refusal('not of any of the keys'),
    );
  });

  it('of a changed payload does not count, and neither does a payload damaged on disk', async () => {
    const { digest } = await signImage(images, NAME, { key: alice.privateKey, layout: 'tag' });
    const { payload, signature, layer } = await signatureOf(digest);
    await forge(digest, payload.replace('"optional":null', '"optional":{"approved":"yes"}'), signature);
    await expect(
      verifyImage(images, NAME, { keys: [alice.publicKey], annotations: { approved: 'yes' } }),
    ).rejects.toMatchObject(refusal('payload was changed'));
    await forge(digest, payload, signature);
    await verifyImage(images, NAME, { keys: [alice.publicKey] });
    await writeFile(
      join(images.home, 'content/blobs/sha256', layer.digest.slice(7)),
      payload.replace('app', 'abb'),
    );
    await expect(verifyImage(images, NAME, { keys: [alice.publicKey] })).rejects.toMatchObject(
      refusal('missing, damaged'),
    );
  });

  it('of another image does not count, whatever it is attached to', async () => {
    const good = await signImage(images, NAME, { key: alice.privateKey, layout: 'tag' });
    const { payload, signature } = await signatureOf(good.digest);
    const evil = await build(images, NAME, '"evil"');
    await forge(evil, payload, signature);
    await expect(verifyImage(images, NAME, { keys: [alice.publicKey] })).rejects.toMatchObject(
      refusal(`it is of another image, ${good.digest}`),
    );
  });

  it('for another repository does not count, unless that is said to be fine', async () => {
    await signImage(images, NAME, { key: alice.privateKey });
    const copy = 'other.example/team/app:1';
    await images.tag(NAME, copy);
    const keys = [alice.publicKey];
    await expect(verifyImage(images, copy, { keys })).rejects.toMatchObject(
      refusal('for another repository, registry.example/team/app'),
    );
    await verifyImage(images, copy, { keys, identity: 'any' });
    await verifyImage(images, copy, { keys, identity: ['registry.example/team/app'] });
    await expect(verifyImage(images, NAME, { keys, identity: ['third.example/app'] })).rejects.toMatchObject(
      refusal('another repository'),
    );
  });

  it('that is expired does not count, nor one whose end cannot be read', async () => {
    let now = systemClock.now();
    const clock: Clock = Object.create(systemClock, { now: { value: () => now } });
    images = await openStore({ clock });
    await signImage(images, NAME, { key: alice.privateKey, expiresAt: now + 60_000 });
    const keys = [alice.publicKey];
    await verifyImage(images, NAME, { keys });
    now += 60_000;
    await expect(verifyImage(images, NAME, { keys })).rejects.toMatchObject(refusal('it expired at'));
    await build(images, NAME, '"again"');
    await signImage(images, NAME, { key: alice.privateKey, annotations: { expires: 'some day' } });
    await expect(verifyImage(images, NAME, { keys })).rejects.toMatchObject(
      refusal('cannot be read: "some day"'),
    );
  });

  it('must have the annotations that are asked for', async () => {
    await signImage(images, NAME, { key: alice.privateKey, annotations: { stage: 'test' } });
    const keys = [alice.publicKey];
    const { signatures } = await verifyImage(images, NAME, { keys, annotations: { stage: 'test' } });
    expect(signatures[0]?.annotations).toEqual({ stage: 'test' });
    await expect(verifyImage(images, NAME, { keys, annotations: { stage: 'live' } })).rejects.toMatchObject(
      refusal('its annotation stage is not "live"'),
    );
  });

  it('joins those that are there, and is not made twice', async () => {
    await signImage(images, NAME, { key: alice.privateKey });
    expect((await signImage(images, NAME, { key: alice.privateKey })).added).toBe(false);
    expect((await signImage(images, NAME, { key: bob.privateKey })).added).toBe(true);
    const keys = [alice.publicKey, bob.publicKey];
    expect((await verifyImage(images, NAME, { keys, minimumKeys: 2 })).signatures).toHaveLength(2);
    const one = await verifyImage(images, NAME, { keys: [bob.publicKey] });
    expect(one.signatures).toHaveLength(1);
    expect(one.rejected).toEqual([expect.stringContaining('not of any of the keys')]);
    // Two signatures by one key are still one key.
    await signImage(images, NAME, { key: bob.privateKey, annotations: { second: 'yes' } });
    await expect(
      verifyImage(images, NAME, {
        keys: [bob.publicKey, (await generateSigningKeys()).publicKey],
        minimumKeys: 2,
      }),
    ).rejects.toMatchObject(refusal('1 of 2 needed keys'));
  });

  it('what is no signature at all harms nothing', async () => {
    const { digest } = await images.inspect(NAME);
    for (const text of ['', '%%%', 'AAAA', 'A'.repeat(100_000)]) await forge(digest, '{}', text);
    await signImage(images, NAME, { key: alice.privateKey, layout: 'referrer' });
    await verifyImage(images, NAME, { keys: [alice.publicKey] });
  });
});

describe('a bundle of cosign 3', () => {
  it('attached as a referrer counts, where no repository is asked for', async () => {
    const subject = await putBytes(images, Buffer.from(BUNDLE_MANIFEST), MEDIA_TYPE.manifest);
    const artifactType = 'application/vnd.dev.sigstore.bundle.v0.3+json';
    const layer = await putBytes(images, Buffer.from(COSIGN_BUNDLE), artifactType);
    await attachArtifact(images, subject.digest, { artifactType, layers: [layer] });
    const about = { reference: NAME, repository: NAME, digests: [subject.digest] };
    const keys = [COSIGN_PUBLIC_KEY];
    const { signatures } = await verifyDigests(images, about, { keys, identity: 'any' });
    expect(signatures).toMatchObject([{ digest: subject.digest }]);
    await expect(verifyDigests(images, about, { keys })).rejects.toMatchObject(
      refusal('for which repository'),
    );
    await expect(
      verifyDigests(images, about, { keys: [alice.publicKey], identity: 'any' }),
    ).rejects.toMatchObject(refusal('not of any of the keys'));
    // Attached to another image it is a signature of the first one.
    const { digest } = await images.inspect(NAME);
    await attachArtifact(images, digest, { artifactType, layers: [layer] });
    await expect(verifyImage(images, NAME, { keys, identity: 'any' })).rejects.toMatchObject(
      refusal(`of another image, ${subject.digest}`),
    );
  });
});

describe('a policy at create', () => {
  const policy = (requirement: TrustRequirement): TrustPolicy => ({
    version: 1,
    rules: [{ prefix: 'registry.example/team', ...requirement }],
  });

  async function engine(trust?: TrustPolicy): Promise<ContainerEngine> {
    return await ContainerEngine.open({
      home: join(home, 'engine'),
      imagesHome: join(home, 'images'),
      runtime: 'process',
      network: 'none',
      ...(trust === undefined ? {} : { trust }),
    });
  }

  it('lets only what is signed run, and leaves nothing of what it refuses', async () => {
    await using one = await engine(policy({ action: 'require-signature', keys: [alice.publicKey] }));
    await expect(one.run({ name: 'a', image: NAME })).rejects.toMatchObject(refusal('has no signature'));
    expect(await one.runtime.list()).toEqual([]);
    await signImage(images, NAME, { key: alice.privateKey });
    const container = await one.run({ name: 'a', image: NAME });
    await container.wait();
    await container.remove();
  });

  it('denies what it denies, by name, by digest, and under another tag', async () => {
    const { digest } = await images.inspect(NAME);
    await signImage(images, NAME, { key: alice.privateKey });
    await using one = await engine(policy({ action: 'deny', reason: 'retired' }));
    for (const image of [NAME, `registry.example/team/app@${digest}`, digest, 'Registry.Example/team/app:1'])
      await expect(one.run({ name: 'a', image })).rejects.toMatchObject({ code: 'IMAGE_NOT_TRUSTED' });
    await expect(one.run({ name: 'a', image: NAME })).rejects.toThrow(/retired/);
  });

  it('an image by its digest alone passes under one of its names only', async () => {
    const { digest } = await images.inspect(NAME);
    const strict = policy({ action: 'require-signature', keys: [alice.publicKey] });
    await using one = await engine({ ...strict, default: { action: 'deny' } });
    await expect(one.run({ name: 'a', image: digest })).rejects.toMatchObject(refusal('has no signature'));
    await signImage(images, NAME, { key: alice.privateKey });
    await (await one.run({ name: 'a', image: digest })).remove({ force: true });
    await images.remove(NAME);
    await expect(one.run({ name: 'b', image: digest })).rejects.toMatchObject(
      refusal('denies it by its default'),
    );
  });

  it('in the file of the engine is read anew each time, with keys beside it, and fails closed', async () => {
    await using one = await engine();
    const file = join(home, 'images', 'trust.json');
    const attempt = async (): Promise<void> =>
      await (await one.run({ name: 'a', image: NAME })).remove({ force: true });
    await attempt();
    await writeFile(file, JSON.stringify(policy({ action: 'require-signature', keys: ['team.pub'] })));
    await expect(attempt()).rejects.toMatchObject({
      code: 'KEY_INVALID',
      message: expect.stringContaining('team.pub'),
    });
    await writeFile(join(home, 'images', 'team.pub'), alice.publicKey);
    await expect(attempt()).rejects.toMatchObject({ code: 'IMAGE_NOT_TRUSTED' });
    await signImage(images, NAME, { key: alice.privateKey });
    await attempt();
    for (const broken of ['{', '[]', '{"version":1,"default":{"action":"permit"}}']) {
      await writeFile(file, broken);
      await expect(attempt()).rejects.toMatchObject({ code: 'TRUST_POLICY_INVALID' });
    }
  });

  it('holds for the base of a build', async () => {
    const strict = await openStore({ trust: policy({ action: 'deny' }) });
    const directory = join(home, 'app');
    await expect(
      buildNodeImage({ images: strict, name: 'mine', directory, base: NAME }),
    ).rejects.toMatchObject({ code: 'IMAGE_NOT_TRUSTED' });
  });
});

describe.skipIf(noRegistry !== undefined)('a policy at pull', () => {
  let base: string;
  let registry: Registry;
  let client: RegistryClient;
  let count = 0;

  beforeAll(async () => {
    base = await temporaryDirectory();
    registry = await startRegistry(base);
    client = new RegistryClient();
  });

  afterAll(async () => {
    await client?.close();
    await registry?.[Symbol.asyncDispose]();
    await rm(base, { recursive: true, force: true });
  });

  async function strict(requirement: TrustRequirement): Promise<ImageStore> {
    count += 1;
    const trust: TrustPolicy = {
      version: 1,
      rules: [{ prefix: `${registry.host}/team`, ...requirement }],
    };
    return await ImageStore.open({ home: join(home, `strict-${count}`), trust });
  }

  it('takes what is signed, with its signatures, and refuses the rest before its layers come', async () => {
    const signed = `${registry.host}/team/signed:1`;
    const unsigned = `${registry.host}/team/unsigned:1`;
    await build(images, signed, '"signed"');
    await build(images, unsigned, '"unsigned"');
    await signImage(images, signed, { key: alice.privateKey });
    await client.push(images, signed);
    await client.push(images, unsigned);
    const store = await strict({ action: 'require-signature', keys: [alice.publicKey] });
    await expect(client.pull(store, unsigned)).rejects.toMatchObject(refusal('has no signature'));
    expect(await store.list()).toEqual([]);
    expect(await store.referrerIndex.subjects()).toEqual([]);
    const blobs = await readdir(join(store.home, 'content/blobs/sha256'));
    expect(blobs).toEqual([]);
    const { digest } = await client.pull(store, signed);
    expect((await store.trust.check(store, signed)).verified?.signatures).toHaveLength(1);
    await expect(client.pull(await strict({ action: 'deny' }), signed)).rejects.toMatchObject(
      refusal('denies'),
    );
    const wrong = await strict({ action: 'require-signature', keys: [bob.publicKey] });
    await expect(client.pull(wrong, `${registry.host}/team/signed@${digest}`)).rejects.toMatchObject(
      refusal('not of any of the keys'),
    );
  });

  it('notices when a tag is moved to an image that nobody signed', async () => {
    const name = `${registry.host}/team/moved:1`;
    await build(images, name, '"first"');
    await signImage(images, name, { key: alice.privateKey });
    await client.push(images, name);
    const store = await strict({ action: 'require-signature', keys: [alice.publicKey] });
    const { digest } = await client.pull(store, name);
    await build(images, name, '"second"');
    await client.push(images, name);
    await expect(client.pull(store, name)).rejects.toMatchObject({ code: 'IMAGE_NOT_TRUSTED' });
    // What was trusted before is still what the name leads to.
    expect((await store.inspect(name)).digest).toBe(digest);
  });

  it('leaves other registries and repositories alone', async () => {
    const name = `${registry.host}/teammates/app:1`;
    await build(images, name);
    await client.push(images, name);
    const store = await strict({ action: 'deny' });
    await client.pull(store, name);
    expect(await store.list()).toHaveLength(1);
  });
});
