// OCI manifests, indexes and image configs: their types, and the parse of untrusted bytes into them.

import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import type { Digest } from './digest.ts';

/** Points to content by digest. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly platform?:
    | { readonly architecture: string; readonly os: string; readonly variant?: string | undefined }
    | undefined;
}

/** One image for one platform. */
export interface ImageManifest {
  readonly schemaVersion: 2;
  readonly mediaType?: string | undefined;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** What kind of artifact it is, when it is no image. */
  readonly artifactType?: string | undefined;
  /** What it is attached to: a signature's image. */
  readonly subject?: Descriptor | undefined;
}

/** A list of manifests: platforms of an image, or images of an archive. */
export interface ImageIndex {
  readonly schemaVersion: 2;
  readonly mediaType?: string | undefined;
  readonly manifests: readonly Descriptor[];
}

/** What a container of the image runs by default. */
export interface ImageConfig {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string | undefined;
  readonly created?: string | undefined;
  readonly config: {
    readonly User?: string | undefined;
    readonly Env?: readonly string[] | undefined;
    readonly Entrypoint?: readonly string[] | undefined;
    readonly Cmd?: readonly string[] | undefined;
    readonly WorkingDir?: string | undefined;
    readonly StopSignal?: string | undefined;
    readonly ExposedPorts?: Readonly<Record<string, unknown>> | undefined;
    readonly Volumes?: Readonly<Record<string, unknown>> | undefined;
    readonly Labels?: Readonly<Record<string, string>> | undefined;
    /** Docker's extension of the OCI config. */
    readonly Healthcheck?: ImageHealthCheck | undefined;
  };
  readonly rootfs: { readonly type: 'layers'; readonly diff_ids: readonly Digest[] };
  readonly history?: readonly HistoryEntry[] | undefined;
}

/** `HEALTHCHECK` of a Dockerfile; times in nanoseconds, 0 for the default. */
export interface ImageHealthCheck {
  /** `["NONE"]`, `["CMD", program, ...]` or `["CMD-SHELL", line]`; empty: nothing said. */
  readonly Test?: readonly string[] | undefined;
  readonly Interval?: number | undefined;
  readonly Timeout?: number | undefined;
  readonly StartPeriod?: number | undefined;
  readonly StartInterval?: number | undefined;
  readonly Retries?: number | undefined;
}

/** How a layer came to be. */
export interface HistoryEntry {
  readonly created?: string | undefined;
  readonly created_by?: string | undefined;
  readonly comment?: string | undefined;
  readonly empty_layer?: boolean | undefined;
}

export const MEDIA_TYPE = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  layerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  layerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  /** The two bytes `{}`: the config of an artifact that needs none. */
  empty: 'application/vnd.oci.empty.v1+json',
} as const;

/** Manifests and configs are held in memory: registries cap them at 4 MiB, and so do we. */
export const MAX_MANIFEST_BYTES: number = 4 * 1024 * 1024;
/** overlayfs stacks at most 500 layers and Docker 127; more is an attack or a mistake. */
export const MAX_LAYERS = 127;

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'not a sha256 digest');
// Go programs write null for an empty list or map.
const nullable = <T extends z.ZodType>(type: T) => type.nullish().transform((value) => value ?? undefined);
const descriptor = z.object({
  mediaType: z.string(),
  digest,
  size: z.number().int().nonnegative(),
  annotations: nullable(z.record(z.string(), z.string())),
  platform: nullable(z.object({ architecture: z.string(), os: z.string(), variant: z.string().optional() })),
});
const index = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  manifests: z.array(descriptor).max(1_000),
});
const manifest = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  config: descriptor,
  layers: z.array(descriptor).max(MAX_LAYERS),
  annotations: nullable(z.record(z.string(), z.string())),
  artifactType: nullable(z.string()),
  subject: nullable(descriptor),
});
const strings = nullable(z.array(z.string()));
const keys = nullable(z.record(z.string(), z.unknown()));
const config = z.object({
  architecture: z.string(),
  os: z.string(),
  variant: nullable(z.string()),
  created: nullable(z.string()),
  config: z
    .object({
      User: nullable(z.string()),
      Env: strings,
      Entrypoint: strings,
      Cmd: strings,
      WorkingDir: nullable(z.string()),
      StopSignal: nullable(z.string()),
      ExposedPorts: keys,
      Volumes: keys,
      Labels: nullable(z.record(z.string(), z.string())),
      Healthcheck: nullable(
        z.object({
          Test: strings,
          Interval: nullable(z.number()),
          Timeout: nullable(z.number()),
          StartPeriod: nullable(z.number()),
          StartInterval: nullable(z.number()),
          Retries: nullable(z.number()),
        }),
      ),
    })
    .nullish()
    .transform((value) => value ?? {}),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(digest).max(MAX_LAYERS) }),
  history: nullable(
    z.array(
      z.object({
        created: nullable(z.string()),
        created_by: nullable(z.string()),
        comment: nullable(z.string()),
        empty_layer: nullable(z.boolean()),
      }),
    ),
  ),
});

function parse<T>(schema: z.ZodType<T>, bytes: Uint8Array, what: string): T {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ContainerError('IMAGE_INVALID', `cannot read ${what}: it is not JSON`, { cause });
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw new ContainerError('IMAGE_INVALID', `cannot use ${what}: ${z.prettifyError(result.error)}`);
}

/** Parses an image index. Throws `IMAGE_INVALID`. */
export function parseIndex(bytes: Uint8Array, what = 'the image index'): ImageIndex {
  return parse(index, bytes, what);
}

/** Parses an image manifest. Throws `IMAGE_INVALID`. */
export function parseManifest(bytes: Uint8Array, what = 'the image manifest'): ImageManifest {
  return parse(manifest, bytes, what);
}

/** Parses an image config. Throws `IMAGE_INVALID`. */
export function parseImageConfig(bytes: Uint8Array, what = 'the image config'): ImageConfig {
  return parse(config, bytes, what);
}

/** Whether a descriptor points to an index rather than to one image. */
export function isIndex(target: Pick<Descriptor, 'mediaType'>): boolean {
  return target.mediaType === MEDIA_TYPE.index || target.mediaType === MEDIA_TYPE.dockerIndex;
}

/** Whether a manifest is an image rather than an artifact such as a signature: only an image's config can be unpacked by. */
export function isImage(manifest: ImageManifest): boolean {
  const { mediaType } = manifest.config;
  return mediaType === MEDIA_TYPE.config || mediaType === MEDIA_TYPE.dockerConfig;
}

/** The architecture of this machine in OCI's (Go's) words. */
export function hostArchitecture(): string {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };
  return names[process.arch] ?? process.arch;
}
