// Signs an image of the store and attaches the signature to it where cosign and OCI 1.1 registries look.

import { createPublicKey } from 'node:crypto';
import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import { attachArtifact, putBytes, putJson } from '../image/documents.ts';
import type { ImageStore } from '../image/image-store.ts';
import { type Descriptor, MAX_MANIFEST_BYTES, MEDIA_TYPE, parseManifest } from '../image/manifest.ts';
import { EXPIRES_CLAIM, fullRepository, makePayload, PAYLOAD_MEDIA_TYPE } from './claims.ts';
import { keyFingerprint, readPrivateKey } from './keys.ts';
import {
  findSignatures,
  isSignedBy,
  SIGNATURE_ANNOTATION,
  SIGNATURE_ARTIFACT_TYPE,
  signatureTag,
  signPayload,
} from './signatures.ts';

/** Options of {@link signImage}. */
export interface SignImageOptions {
  /** The private key, as PEM. */
  readonly key: string;
  /** Of an encrypted key. Default the empty one. */
  readonly password?: string;
  /** Signed statements beside the image's digest; `cosign verify -a` looks at them. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** From then on the signature counts no more for a verifier that reads the `expires` annotation, as this one does. */
  readonly expiresAt?: number;
  /** The repository the signature is for. Default that of the name. */
  readonly repository?: string;
  /**
   * Where the signature goes: the tag `sha256-<hex>.sig` (what cosign 2 looks for), an OCI 1.1 referrer
   * (`cosign verify --experimental-oci11`), or both. Default both.
   */
  readonly layout?: 'tag' | 'referrer' | 'both';
}

/** What {@link signImage} did. */
export interface SignedImage {
  /** What was signed: the manifest, or the index, that the name leads to. */
  readonly digest: Digest;
  readonly repository: string;
  /** SHA-256 of the public key. */
  readonly keyFingerprint: string;
  /** False when this key had signed just this before. */
  readonly added: boolean;
}

/**
 * Signs what a name leads to. Nothing leaves the machine: a push takes the signatures along. Signatures there already
 * stay. Throws `IMAGE_NOT_FOUND`, `KEY_INVALID`, `INVALID_ARGUMENT`.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm, writeFile } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { buildNodeImage, generateSigningKeys, ImageStore, signImage, verifyImage } from '@heptad/container';
 *
 * const home = await mkdtemp(join(tmpdir(), 'sign-'));
 * const app = await mkdtemp(join(tmpdir(), 'app-'));
 * await writeFile(join(app, 'index.js'), 'console.log("hello")');
 * const images = await ImageStore.open({ home });
 * await buildNodeImage({ images, name: 'shop/hello', directory: app });
 * const { privateKey, publicKey } = await generateSigningKeys();
 * await signImage(images, 'shop/hello', { key: privateKey });
 * const { signatures } = await verifyImage(images, 'shop/hello', { keys: [publicKey] });
 * console.log(signatures.length); // 1
 * await Promise.all([home, app].map((path) => rm(path, { recursive: true })));
 * ```
 */
export async function signImage(
  images: ImageStore,
  reference: string,
  options: SignImageOptions,
): Promise<SignedImage> {
  const key = await readPrivateKey(options.key, options.password);
  const { target } = await images.target(reference);
  const repository = repositoryFor(reference, options.repository);
  const expires =
    options.expiresAt === undefined ? {} : { [EXPIRES_CLAIM]: new Date(options.expiresAt).toISOString() };
  const payload = makePayload({
    digest: target.digest,
    reference: repository,
    annotations: { ...options.annotations, ...expires },
  });
  const layer = await putBytes(images, payload, PAYLOAD_MEDIA_TYPE);
  // One whose payload is damaged proves nothing and could not be pushed.
  const present = (await findSignatures(images, target.digest)).filter(
    ({ kind, payload: bytes }) => kind === 'payload' && bytes !== undefined,
  );
  const publicKey = createPublicKey(key);
  const isThere = present.some(
    (one) => one.layer.digest === layer.digest && isSignedBy(payload, one.signature, publicKey),
  );
  const layers = present.map((one) => one.layer);
  if (!isThere) layers.push({ ...layer, annotations: { [SIGNATURE_ANNOTATION]: signPayload(payload, key) } });
  await attach(images, target.digest, layers, options.layout ?? 'both');
  return {
    digest: target.digest,
    repository,
    keyFingerprint: keyFingerprint(publicKey),
    added: !isThere,
  };
}

function repositoryFor(reference: string, given: string | undefined): string {
  if (given !== undefined) return fullRepository(given);
  if (!/^sha256:/.test(reference)) return fullRepository(reference);
  throw new ContainerError(
    'INVALID_ARGUMENT',
    `cannot sign ${reference}: a digest alone says no repository`,
    {
      hint: 'sign NAME@sha256:..., or say the repository',
    },
  );
}

async function attach(
  images: ImageStore,
  subject: Digest,
  layers: readonly Descriptor[],
  layout: 'tag' | 'referrer' | 'both',
): Promise<void> {
  if (layout !== 'referrer') {
    const manifest = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.manifest,
      config: await putJson(images, configFor(layers), MEDIA_TYPE.config),
      layers,
    };
    const target = await putJson(images, manifest, MEDIA_TYPE.manifest);
    await images.attach(target, { subject, tag: signatureTag(subject) });
  }
  if (layout === 'tag') return;
  const config = await putJson(images, configFor(layers), SIGNATURE_ARTIFACT_TYPE);
  const before = await images.referrers(subject, { artifactType: SIGNATURE_ARTIFACT_TYPE });
  const attached = await attachArtifact(images, subject, {
    artifactType: SIGNATURE_ARTIFACT_TYPE,
    config,
    layers,
  });
  // cosign looks at one referrer only, so the new one has all signatures; those it holds in full are not needed any more.
  const kept = new Set(layers.map(signatureKey));
  for (const old of before) {
    if (old.tag !== undefined || old.descriptor.digest === attached.descriptor.digest) continue;
    const bytes = await images.content.readBytes(old.descriptor.digest, MAX_MANIFEST_BYTES);
    if (parseManifest(bytes).layers.every((layer) => kept.has(signatureKey(layer))))
      await images.referrerIndex.remove(subject, old);
  }
}

function signatureKey(layer: Descriptor): string {
  return `${layer.digest} ${layer.annotations?.[SIGNATURE_ANNOTATION]}`;
}

/** The image config that cosign writes: registries and tools that expect an image find one, of no platform. */
function configFor(layers: readonly Descriptor[]): unknown {
  const created = '0001-01-01T00:00:00Z';
  return {
    architecture: '',
    created,
    history: layers.map(() => ({ created })),
    os: '',
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
    config: {},
  };
}
