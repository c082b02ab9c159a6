// Turns a built Node.js application into a layered, reproducible OCI image, on this machine's own Node or on a base image.

import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import { putJson } from '../image/documents.ts';
import type { ImageStore } from '../image/image-store.ts';
import { type LayerEntry, type LayerWriting, writeLayer } from '../image/layer-writer.ts';
import type { Lease } from '../image/leases.ts';
import { type Descriptor, type ImageManifest, MAX_LAYERS, MEDIA_TYPE } from '../image/manifest.ts';
import type { Referrer } from '../image/referrers.ts';
import { APP_LAYER_ANNOTATION } from './app-files.ts';
import { attachSbom } from './attach-sbom.ts';
import type { BaseImage } from './base-image.ts';
import { type BuildPlan, makePlan } from './build-plan.ts';
import { imageConfig } from './image-config.ts';
import { imageLabels } from './image-labels.ts';
import { layerFromCache } from './layer-cache.ts';
import { type RuntimeLayer, runtimeLayer } from './runtime-layer.ts';

/** Options of {@link buildNodeImage}. */
export interface BuildNodeImageOptions {
  readonly images: ImageStore;
  /** `repository[:tag]` of the new image. */
  readonly name: string;
  /** The built application: everything it needs at run time, `node_modules` included unless it is bundled. */
  readonly directory: string;
  /**
   * The file to run, relative to `directory`. Default: the start script of package.json, else its only `bin`, else its
   * `main`, else index, server or main with .js, .mjs or .cjs.
   */
  readonly main?: string;
  /**
   * An image of the store to put the application on; its config is inherited, and its Node runs. Default: none, and
   * this machine's Node goes into the image.
   */
  readonly base?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** TCP ports the application listens on: documentation for whoever runs the image. */
  readonly ports?: readonly number[];
  /** `user[:group]`. Default `node` (1000), or the base's user unless that is root, so that the application is not root. */
  readonly user?: string;
  /** The Node.js binary. Default the one that runs this. */
  readonly nodeBinary?: string;
  /** Further programs of this machine to put into the image, with their libraries. Default `/bin/sh`, which shell health checks need. */
  readonly tools?: readonly string[];
  /** Names of files and directories left out, at any depth, beside what .dockerignore says. Default `.git`, `.env` and `.npmrc`. */
  readonly exclude?: readonly string[];
  /** Labels beside the `org.opencontainers.image.*` ones made from package.json; they win over those. */
  readonly labels?: Readonly<Record<string, string>>;
  /**
   * The time the image says it was made at and its application's files carry, in seconds since 1970. Default the
   * environment's SOURCE_DATE_EPOCH, else 0. Libraries and runtime always carry 1970, so that their layers stay the same.
   */
  readonly sourceDateEpoch?: number;
  /** Whether a bill of materials (CycloneDX 1.6) is attached. Default true. */
  readonly sbom?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: BuildProgress) => void;
}

/** What a build is doing. */
export interface BuildProgress {
  readonly step: 'plan' | 'base' | 'runtime' | 'dependencies' | 'app' | 'dockerfile' | 'sbom' | 'done';
  /** A sentence for people. */
  readonly message: string;
  /** Bytes of this step so far. */
  readonly bytes?: number;
  /** True when the step's layer is there from an earlier build. */
  readonly cached?: boolean;
}

/** What {@link buildNodeImage} made. */
export interface BuiltImage {
  readonly name: string;
  /** Digest of the manifest; equal inputs give an equal digest. */
  readonly digest: Digest;
  /** Bytes as stored. */
  readonly sizeBytes: number;
  readonly layers: readonly Descriptor[];
  /** The attached bill of materials. */
  readonly sbom?: Referrer;
}

type Step = 'runtime' | 'dependencies' | 'app';

interface Layer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  /** For the image's history. */
  readonly because: string;
}

const PROGRESS_STEP_BYTES = 8 * 1024 * 1024;
const WHAT: Readonly<Record<Step, string>> = {
  runtime: 'the Node.js runtime',
  dependencies: 'the dependencies',
  app: 'the application',
};

/**
 * Builds an image of a Node.js application: a runtime layer (Node, its libraries, users, certificates) or a base image,
 * a layer of dependencies (every `node_modules`), and the application, at `/app`. Equal inputs give byte-equal images,
 * whatever the directory, owner, umask and time. Runtime and dependencies are not packed again while they are unchanged.
 *
 * Throws `PATH_NOT_FOUND`, `INVALID_REFERENCE`, `IMAGE_NOT_FOUND` (the base), `BUILD_FAILED`, `LIMIT_EXCEEDED`, `NO_SPACE`.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm, writeFile } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { buildNodeImage, ImageStore } from '@heptad/container';
 *
 * const home = await mkdtemp(join(tmpdir(), 'build-'));
 * const app = await mkdtemp(join(tmpdir(), 'app-'));
 * await writeFile(join(app, 'main.mjs'), 'console.log("hello")');
 * const images = await ImageStore.open({ home });
 * const { digest } = await buildNodeImage({ images, name: 'hello', directory: app, main: 'main.mjs' });
 * console.log(digest);
 * await Promise.all([home, app].map((path) => rm(path, { recursive: true })));
 * ```
 */
export async function buildNodeImage(options: BuildNodeImageOptions): Promise<BuiltImage> {
  const plan = await makePlan(options);
  // Until the name leads to them, a collection must not take the parts away.
  await using lease = await options.images.leases.create();
  if (plan.base !== undefined) await keepBase(options.images, plan.base, lease);
  const runtime = plan.base === undefined ? await packRuntime(options, lease) : undefined;
  const ours = await packApplication(options, plan, lease);
  const added =
    runtime === undefined ? ours : [{ ...runtime, because: 'Node.js of the build machine' }, ...ours];
  const layers = [...(plan.base?.layers ?? []), ...added.map(({ descriptor }) => descriptor)];
  if (layers.length > MAX_LAYERS)
    throw new ContainerError(
      'LIMIT_EXCEEDED',
      `cannot build ${options.name}: it would have ${layers.length} layers`,
    );
  const created = new Date((plan.epoch ?? 0) * 1000).toISOString();
  const labels = imageLabels(plan.manifest, plan.epoch === undefined ? undefined : created, plan.base);
  const { environment, ports, user } = options;
  const config = imageConfig({
    base: plan.base,
    entry: plan.entry,
    created,
    layers: added,
    labels: { ...labels, ...options.labels },
    environment,
    ports,
    user,
  });
  const manifest: ImageManifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config: await putJson(options.images, config, MEDIA_TYPE.config, lease),
    layers,
    ...(Object.keys(labels).length === 0 ? {} : { annotations: labels }),
  };
  const target = await putJson(options.images, manifest, MEDIA_TYPE.manifest, lease);
  const { name } = await options.images.setTag(options.name, target);
  const sbom =
    options.sbom === false
      ? undefined
      : await describe(options, plan, { name, digest: target.digest, created, runtime }, lease);
  const sizeBytes = layers.reduce((sum, layer) => sum + layer.size, manifest.config.size);
  options.onProgress?.({
    step: 'done',
    message: `built ${name} (${target.digest.slice(0, 19)})`,
    bytes: sizeBytes,
  });
  return { name, digest: target.digest, sizeBytes, layers, ...(sbom === undefined ? {} : { sbom }) };
}

async function keepBase(images: ImageStore, { digest, layers }: BaseImage, lease: Lease): Promise<void> {
  await lease.add(
    ...[digest, ...layers.map((layer) => layer.digest)].map((id) => ({ kind: 'content' as const, id })),
  );
  // It may have gone just before.
  await images.inspect(digest);
}

async function packRuntime(options: BuildNodeImageOptions, lease: Lease): Promise<RuntimeLayer> {
  return await runtimeLayer(options.images, {
    nodeBinary: options.nodeBinary ?? process.execPath,
    tools: options.tools ?? ['/bin/sh'],
    writing: { ...writing(options, 'runtime'), lease },
    onStart: () =>
      options.onProgress?.({
        step: 'runtime',
        message: 'packing the Node.js runtime (once per Node version)',
      }),
  });
}

async function packApplication(
  options: BuildNodeImageOptions,
  { files, epoch, entry }: BuildPlan,
  lease: Lease,
): Promise<Layer[]> {
  const layers: Layer[] = [];
  if (files.dependencies.length > 0) {
    const packed = await layerFromCache(options.images, files.dependencies, lease, () =>
      pack(options, 'dependencies', files.dependencies, lease),
    );
    if (packed.cached)
      options.onProgress?.({ step: 'dependencies', message: 'the dependencies are unchanged', cached: true });
    layers.push({
      descriptor: { ...packed.descriptor, annotations: { [APP_LAYER_ANNOTATION]: 'dependencies' } },
      diffId: packed.diffId,
      because: 'dependencies (node_modules)',
    });
  }
  const app = await pack(options, 'app', files.app, lease, (epoch ?? 0) * 1000);
  layers.push({
    descriptor: { ...app.descriptor, annotations: { [APP_LAYER_ANNOTATION]: 'app' } },
    diffId: app.diffId,
    because: `application, runs ${entry.arguments.join(' ')}`,
  });
  return layers;
}

async function pack(
  options: BuildNodeImageOptions,
  step: Step,
  entries: readonly LayerEntry[],
  lease: Lease,
  mtimeMs = 0,
): Promise<{ descriptor: Descriptor; diffId: Digest }> {
  options.onProgress?.({ step, message: `packing ${WHAT[step]} (${entries.length} files and directories)` });
  const { content, clock, random } = options.images;
  const ref = `build-${step}-${random.uuid(clock.now())}`;
  return await writeLayer(content, ref, entries, { ...writing(options, step), lease, mtimeMs });
}

function writing(options: BuildNodeImageOptions, step: Step): LayerWriting {
  let told = 0;
  return {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onBytes: (bytes: number): void => {
      if (bytes - told < PROGRESS_STEP_BYTES) return;
      told = bytes;
      options.onProgress?.({ step, message: `packing ${WHAT[step]}`, bytes });
    },
  };
}

async function describe(
  options: BuildNodeImageOptions,
  plan: BuildPlan,
  built: { name: string; digest: Digest; created: string; runtime: RuntimeLayer | undefined },
  lease: Lease,
): Promise<Referrer> {
  options.onProgress?.({ step: 'sbom', message: 'writing the bill of materials' });
  return await attachSbom(
    options.images,
    {
      ...built,
      directory: plan.directory,
      manifest: plan.manifest,
      files: plan.files,
      base: plan.base,
      nodeBinary: options.nodeBinary ?? process.execPath,
    },
    lease,
  );
}
