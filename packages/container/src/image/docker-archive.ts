// The older archive format of `docker save`: manifest.json names a config and plain layer files; made into OCI manifests.

import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { type Digest, digestOf } from './digest.ts';
import type { ImageStore, ImageTag } from './image-store.ts';
import type { Lease } from './leases.ts';
import { type Descriptor, type ImageManifest, MEDIA_TYPE, parseImageConfig } from './manifest.ts';

/** What an archive held, by name; large files are in the content store already. */
export interface ArchiveContent {
  /** Small files by their path. */
  readonly documents: Map<string, Uint8Array>;
  /** Digests of the other files by their path. */
  readonly files: Map<string, { digest: Digest; size: number }>;
  /** Links by their path: archives of old Docker versions share layers this way. */
  readonly links: Map<string, string>;
}

const schema = z.array(
  z.object({
    Config: z.string(),
    RepoTags: z.array(z.string()).nullish(),
    Layers: z.array(z.string()),
  }),
);

/** Names the images of a docker archive, whose files are in the store already. Throws `ARCHIVE_INVALID`. */
export async function loadDockerImages(
  store: ImageStore,
  content: ArchiveContent,
  manifest: Uint8Array,
  what: string,
  lease: Lease,
): Promise<ImageTag[]> {
  const parsed = schema.safeParse(JSON.parse(Buffer.from(manifest).toString('utf8')));
  if (!parsed.success) {
    throw new ContainerError(
      'ARCHIVE_INVALID',
      `manifest.json of ${what} is not valid: ${z.prettifyError(parsed.error)}`,
    );
  }
  const tags: ImageTag[] = [];
  for (const image of parsed.data) {
    const target = await storeImage(store, content, image, { what, lease });
    const names = image.RepoTags?.length ? image.RepoTags : [`loaded:${target.digest.slice(7, 19)}`];
    for (const name of names) tags.push(await store.setTag(name, target));
  }
  return tags;
}

async function storeImage(
  store: ImageStore,
  content: ArchiveContent,
  image: { Config: string; Layers: string[] },
  { what, lease }: { what: string; lease: Lease },
): Promise<Descriptor> {
  const configBytes = await configOf(store, content, image.Config, what);
  parseImageConfig(configBytes, `the config ${image.Config} of ${what}`);
  const layers: Descriptor[] = [];
  for (const path of image.Layers) {
    const file = content.files.get(followLinks(content, path));
    if (file === undefined)
      throw new ContainerError('ARCHIVE_INVALID', `${what} is incomplete: layer ${path} is missing`);
    layers.push({ mediaType: await layerType(store, file.digest), ...file });
  }
  const manifest: ImageManifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config: { mediaType: MEDIA_TYPE.config, ...(await put(store, configBytes, lease)) },
    layers,
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  return { mediaType: MEDIA_TYPE.manifest, ...(await put(store, bytes, lease)) };
}

async function configOf(
  store: ImageStore,
  content: ArchiveContent,
  path: string,
  what: string,
): Promise<Uint8Array> {
  const document = content.documents.get(path);
  if (document !== undefined) return document;
  const file = content.files.get(path);
  if (file !== undefined) return await store.content.readBytes(file.digest, 4 * 1024 * 1024);
  throw new ContainerError('ARCHIVE_INVALID', `${what} is incomplete: config ${path} is missing`);
}

async function put(
  store: ImageStore,
  bytes: Uint8Array,
  lease: Lease,
): Promise<{ digest: Digest; size: number }> {
  const digest = digestOf(bytes);
  // A ref of its own: somebody else may be loading the same archive.
  const ref = `document-${digest}-${store.random.uuid(store.clock.now())}`;
  await store.content.ingest(ref, [bytes], { digest }, lease);
  return { digest, size: bytes.length };
}

function followLinks(content: ArchiveContent, path: string): string {
  let current = path;
  // A chain of links in an archive is one or two long; a loop must end.
  for (let hop = 0; hop < 8; hop += 1) {
    const target = content.links.get(current);
    if (target === undefined) return current;
    current = new URL(target, `file:///${current}`).pathname.slice(1);
  }
  return current;
}

async function layerType(store: ImageStore, digest: Digest): Promise<string> {
  await using reader = await store.content.readerAt(digest);
  const magic = Buffer.from(await reader.read(0, 4)).toString('hex');
  if (magic.startsWith('1f8b')) return MEDIA_TYPE.layerGzip;
  return magic === '28b52ffd' ? MEDIA_TYPE.layerZstd : MEDIA_TYPE.layer;
}
