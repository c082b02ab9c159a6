// Writes the bill of materials of a built image and attaches it to it; reads it back.

import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import { attachArtifact, putBytes } from '../image/documents.ts';
import type { ImageStore } from '../image/image-store.ts';
import type { Lease } from '../image/leases.ts';
import { MAX_MANIFEST_BYTES, parseManifest } from '../image/manifest.ts';
import type { Referrer } from '../image/referrers.ts';
import type { AppFiles } from './app-files.ts';
import type { BaseImage } from './base-image.ts';
import { readLock } from './lock-file.ts';
import { npmPackages } from './npm-packages.ts';
import type { PackageManifest } from './package-manifest.ts';
import { runtimeFacts } from './runtime-facts.ts';
import type { RuntimeLayer } from './runtime-layer.ts';
import { CYCLONEDX_MEDIA_TYPE, makeSbom, type Sbom } from './sbom.ts';

/** A built image and what it was built from. */
export interface SbomRequest {
  readonly name: string;
  readonly digest: Digest;
  readonly created: string;
  readonly directory: string;
  readonly manifest: PackageManifest | undefined;
  readonly files: AppFiles;
  readonly base: BaseImage | undefined;
  readonly runtime: RuntimeLayer | undefined;
  readonly nodeBinary: string;
}

/** A bill of materials of 100 000 components has some 60 MB; more is not one. */
const MAX_SBOM_BYTES: number = 128 * 1024 * 1024;

/** Writes it and attaches it; until then the lease keeps it. */
export async function attachSbom(
  images: ImageStore,
  request: SbomRequest,
  lease: Pick<Lease, 'add'>,
): Promise<Referrer> {
  const { base, runtime } = request;
  const sbom = makeSbom({
    image: request.name,
    digest: request.digest,
    created: request.created,
    app: request.manifest,
    npm: await npmPackages(request.files, request.manifest),
    lock: await readLock(request.directory),
    ...(runtime === undefined ? {} : { runtime: await runtimeFacts(images, request.nodeBinary, runtime) }),
    ...(base === undefined
      ? {}
      : {
          base: {
            name: base.name,
            digest: base.digest,
            // Official Node images say it there.
            nodeVersion: base.environment.NODE_VERSION,
            packages: base.packages,
          },
        }),
  });
  const document = await putBytes(images, Buffer.from(JSON.stringify(sbom)), CYCLONEDX_MEDIA_TYPE, lease);
  return await attachArtifact(
    images,
    request.digest,
    {
      artifactType: CYCLONEDX_MEDIA_TYPE,
      layers: [{ ...document, annotations: { 'org.opencontainers.image.title': 'sbom.cdx.json' } }],
      annotations: { 'org.opencontainers.image.created': request.created },
    },
    lease,
  );
}

/**
 * The CycloneDX document attached to an image. The content is as whoever attached it wrote it.
 * Throws `IMAGE_NOT_FOUND` when the image is not here or has none.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm, writeFile } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { buildNodeImage, ImageStore, readSbom } from '@heptad/container';
 *
 * const home = await mkdtemp(join(tmpdir(), 'sbom-'));
 * const app = await mkdtemp(join(tmpdir(), 'app-'));
 * await writeFile(join(app, 'index.js'), 'console.log("hello")');
 * const images = await ImageStore.open({ home });
 * await buildNodeImage({ images, name: 'hello', directory: app });
 * const { components } = await readSbom(images, 'hello');
 * console.log(components.map(({ name }) => name)); // application, node, libc6…
 * await Promise.all([home, app].map((path) => rm(path, { recursive: true })));
 * ```
 */
export async function readSbom(images: ImageStore, reference: string): Promise<Sbom> {
  const { digest } = await images.inspect(reference);
  const [referrer] = await images.referrers(digest, { artifactType: CYCLONEDX_MEDIA_TYPE });
  if (referrer === undefined) {
    throw new ContainerError('IMAGE_NOT_FOUND', `image ${reference} has no bill of materials here`, {
      hint: 'buildNodeImage attaches one; pulling with referrers brings the one that was pushed',
    });
  }
  const manifest = parseManifest(
    await images.content.readBytes(referrer.descriptor.digest, MAX_MANIFEST_BYTES),
  );
  const layer = manifest.layers.find(({ mediaType }) => mediaType === CYCLONEDX_MEDIA_TYPE);
  if (layer === undefined)
    throw new ContainerError('IMAGE_INVALID', `the bill of materials of ${reference} has no document`);
  const bytes = await images.content.readBytes(layer.digest, MAX_SBOM_BYTES);
  const json: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
  if (isSbom(json)) return json;
  throw new ContainerError('IMAGE_INVALID', `the bill of materials of ${reference} is not CycloneDX 1.6`);
}

function isSbom(json: unknown): json is Sbom {
  if (typeof json !== 'object' || json === null || !('bomFormat' in json) || !('components' in json))
    return false;
  return json.bomFormat === 'CycloneDX' && Array.isArray(json.components);
}
