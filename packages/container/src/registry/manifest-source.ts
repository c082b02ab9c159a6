// Manifests from a registry: fetched with every media type we know, and never larger or other than they should be.

import { ContainerError } from '../errors.ts';
import { type Digest, digestOf, isDigest } from '../image/digest.ts';
import { type Descriptor, MAX_MANIFEST_BYTES, MEDIA_TYPE } from '../image/manifest.ts';
import type { RegistrySession } from './session.ts';

/** A manifest with the descriptor that leads to it. */
export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

const ACCEPT = [
  MEDIA_TYPE.index,
  MEDIA_TYPE.manifest,
  MEDIA_TYPE.dockerIndex,
  MEDIA_TYPE.dockerManifest,
].join(', ');
// What Docker wrote before 2016: its digest covers signatures, and its layers have no DiffIDs.
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+(json|prettyjws)$/;

/** Asks what a tag leads to without fetching it; undefined when the registry does not say. Throws `IMAGE_NOT_FOUND`. */
export async function headManifest(
  session: RegistrySession,
  repository: string,
  name: string,
  signal?: AbortSignal,
): Promise<Descriptor | undefined> {
  const response = await session.send({
    method: 'HEAD',
    scope: { repository, actions: 'pull' },
    path: `manifests/${name}`,
    headers: { accept: ACCEPT },
    accept: [200],
    doing: `find ${repository}${separator(name)}${name}`,
    signal,
  });
  response.discard();
  const digest = response.header('docker-content-digest');
  const size = Number(response.header('content-length') ?? Number.NaN);
  const mediaType = mediaTypeOf(response.header('content-type'));
  if (digest === undefined || !isDigest(digest) || !Number.isSafeInteger(size) || mediaType === undefined)
    return undefined;
  return { mediaType, digest, size };
}

/** Fetches a manifest by tag or digest. Throws `IMAGE_NOT_FOUND`, `DIGEST_MISMATCH`, `NOT_SUPPORTED`, `LIMIT_EXCEEDED`. */
export async function getManifest(
  session: RegistrySession,
  repository: string,
  name: string,
  signal?: AbortSignal,
): Promise<FetchedManifest> {
  const what = `${repository}${separator(name)}${name}`;
  const response = await session.send({
    method: 'GET',
    scope: { repository, actions: 'pull' },
    path: `manifests/${name}`,
    headers: { accept: ACCEPT },
    accept: [200],
    doing: `get the manifest of ${what}`,
    signal,
  });
  const bytes = await response.bytes(MAX_MANIFEST_BYTES);
  const digest = digestOf(bytes);
  requireDigest(isDigest(name) ? name : response.header('docker-content-digest'), digest, what);
  const mediaType = mediaTypeOf(response.header('content-type')) ?? declaredType(bytes);
  if (mediaType === undefined || SCHEMA_1.test(mediaType)) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot use ${what}: its manifest is of type ${mediaType ?? 'unknown'}`,
      {
        hint: 'push the image again with a current tool: OCI and Docker schema 2 manifests are supported',
      },
    );
  }
  return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
}

function requireDigest(expected: Digest | undefined, actual: Digest, what: string): void {
  // A registry may use an algorithm that we do not; then the bytes' own digest is the identity.
  if (expected === undefined || !expected.startsWith('sha256:') || expected === actual) return;
  throw new ContainerError(
    'DIGEST_MISMATCH',
    `refused the manifest of ${what}: its digest is ${actual}, expected was ${expected}`,
    {
      hint: 'the registry or something on the way is damaged or tampers with content; try another source',
      details: { expected, actual },
    },
  );
}

function mediaTypeOf(header: string | undefined): string | undefined {
  const type = header?.split(';')[0]?.trim().toLowerCase();
  // What servers say that do not know: the manifest itself tells more.
  return type === undefined ||
    type === '' ||
    type === 'application/json' ||
    type === 'text/plain' ||
    type === 'application/octet-stream'
    ? undefined
    : type;
}

function declaredType(bytes: Uint8Array): string | undefined {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof json !== 'object' || json === null) return undefined;
    if ('mediaType' in json) return String(json.mediaType);
    if ('schemaVersion' in json && json.schemaVersion === 1)
      return 'application/vnd.docker.distribution.manifest.v1+json';
    return 'manifests' in json ? MEDIA_TYPE.index : MEDIA_TYPE.manifest;
  } catch {
    // Not JSON: of no known type.
    return undefined;
  }
}

function separator(name: string): string {
  return isDigest(name) ? '@' : ':';
}
