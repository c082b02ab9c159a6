// Small documents in the content store: configs, manifests, payloads, and artifacts attached to an image.

import { type Digest, digestOf } from './digest.ts';
import type { ImageStore } from './image-store.ts';
import type { Lease } from './leases.ts';
import { type Descriptor, type ImageManifest, MEDIA_TYPE } from './manifest.ts';
import type { Referrer } from './referrers.ts';

/** Stores bytes under their digest and describes them. A lease keeps them until something refers to them. */
export async function putBytes(
  images: ImageStore,
  bytes: Uint8Array,
  mediaType: string,
  lease?: Pick<Lease, 'add'>,
): Promise<Descriptor> {
  const digest = digestOf(bytes);
  const ref = `document-${digest}-${images.random.uuid(images.clock.now())}`;
  await images.content.ingest(ref, [bytes], { digest }, lease);
  return { mediaType, digest, size: bytes.length };
}

/** Stores a value as JSON, in the order of its keys. */
export async function putJson(
  images: ImageStore,
  value: unknown,
  mediaType: string,
  lease?: Pick<Lease, 'add'>,
): Promise<Descriptor> {
  return await putBytes(images, Buffer.from(JSON.stringify(value)), mediaType, lease);
}

/** An artifact to attach. */
export interface Artifact {
  readonly artifactType: string;
  readonly layers: readonly Descriptor[];
  /** Default the empty config. */
  readonly config?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Stores an artifact as an OCI 1.1 manifest about `subject` and attaches it. Equal artifacts are one. */
export async function attachArtifact(
  images: ImageStore,
  subject: Digest,
  artifact: Artifact,
  lease?: Pick<Lease, 'add'>,
): Promise<Referrer> {
  const { target } = await images.target(subject);
  const manifest: ImageManifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    artifactType: artifact.artifactType,
    config: artifact.config ?? (await putBytes(images, Buffer.from('{}'), MEDIA_TYPE.empty, lease)),
    layers: artifact.layers,
    subject: { mediaType: target.mediaType, digest: target.digest, size: target.size },
    ...(artifact.annotations === undefined ? {} : { annotations: artifact.annotations }),
  };
  return await images.attach(await putJson(images, manifest, MEDIA_TYPE.manifest, lease));
}
