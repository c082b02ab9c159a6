// What is attached to an image at a registry: the referrers API of OCI 1.1, and the tag `sha256-<hex>` where it is missing.

import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import { digestHex, digestOf } from '../image/digest.ts';
import { type Descriptor, MAX_MANIFEST_BYTES, MEDIA_TYPE, parseIndex } from '../image/manifest.ts';
import type { RegistrySession } from './session.ts';

/** A manifest at a registry that is about another one. */
export interface RegistryReferrer {
  readonly descriptor: Descriptor;
  /** Absent when the registry does not say; the manifest itself does. */
  readonly artifactType?: string;
}

// A list of 256 takes one page; more pages than this is a registry that does not end.
const MAX_PAGES = 32;

const schema = z.object({
  manifests: z
    .array(z.object({ digest: z.string(), artifactType: z.string().optional() }))
    .nullish()
    .transform((value) => value ?? []),
});

/** The tag that lists referrers at a registry without the API. Source: OCI distribution 1.1, "Referrers Tag Schema". */
export function referrersTag(subject: Digest): string {
  return `sha256-${digestHex(subject)}`;
}

/** What is attached to `subject`, of one artifact type or of all. Empty when there is nothing or no such list. */
export async function listReferrers(
  session: RegistrySession,
  repository: string,
  subject: Digest,
  options: { readonly artifactType?: string; readonly signal?: AbortSignal | undefined } = {},
): Promise<RegistryReferrer[]> {
  const listed =
    (await fromApi(session, repository, subject, options)) ??
    (await fromTag(session, repository, subject, options.signal))?.referrers ??
    [];
  // A registry may ignore the filter, and the tag's list has none.
  return listed.filter(
    ({ artifactType }) => options.artifactType === undefined || artifactType === options.artifactType,
  );
}

async function fromApi(
  session: RegistrySession,
  repository: string,
  subject: Digest,
  options: { readonly artifactType?: string; readonly signal?: AbortSignal | undefined },
): Promise<RegistryReferrer[] | undefined> {
  const filter =
    options.artifactType === undefined ? '' : `?artifactType=${encodeURIComponent(options.artifactType)}`;
  let path: string | URL = `referrers/${subject}${filter}`;
  const all: RegistryReferrer[] = [];
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const response = await session.send({
      method: 'GET',
      scope: { repository, actions: 'pull' },
      path,
      headers: { accept: MEDIA_TYPE.index },
      accept: [200, 404],
      doing: `list what is attached to ${subject} in ${repository}`,
      signal: options.signal,
    });
    // Registries before 1.1 know no such path; some answer with a page of their own instead of 404.
    const isIndex = response.header('content-type')?.startsWith(MEDIA_TYPE.index) === true;
    if (response.status === 404 || !isIndex) {
      response.discard();
      return undefined;
    }
    all.push(...readReferrers(await response.bytes(MAX_MANIFEST_BYTES), subject));
    const next = nextPage(response.header('link'), response.url);
    if (next === undefined) return all;
    path = next;
  }
  throw new ContainerError(
    'LIMIT_EXCEEDED',
    `${session.host} lists more than ${MAX_PAGES} pages of referrers of ${subject}`,
  );
}

/** The list behind the tag, with its bytes' digest, so that an update can tell whether it changed meanwhile. */
async function fromTag(
  session: RegistrySession,
  repository: string,
  subject: Digest,
  signal: AbortSignal | undefined,
): Promise<{ referrers: RegistryReferrer[]; json: string } | undefined> {
  const response = await session.send({
    method: 'GET',
    scope: { repository, actions: 'pull' },
    path: `manifests/${referrersTag(subject)}`,
    headers: { accept: MEDIA_TYPE.index },
    accept: [200, 404],
    doing: `read the list of what is attached to ${subject} in ${repository}`,
    signal,
  });
  const bytes = await response.bytes(MAX_MANIFEST_BYTES);
  if (response.status === 404) return undefined;
  return { referrers: readReferrers(bytes, subject), json: Buffer.from(bytes).toString('utf8') };
}

function readReferrers(bytes: Uint8Array, subject: Digest): RegistryReferrer[] {
  const { manifests } = parseIndex(bytes, `the list of what is attached to ${subject}`);
  // The same list again for the field that image indexes do not have.
  const types = schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).manifests;
  return manifests.map((descriptor, index) => {
    const artifactType = types[index]?.artifactType;
    return { descriptor, ...(artifactType === undefined ? {} : { artifactType }) };
  });
}

/**
 * Adds a referrer to the list behind the tag, for registries without the API. The protocol has no compare-and-set, so
 * two writers at once can lose one entry; writing it again mends that. Returns whether something had to be written.
 */
export async function addToReferrersTag(
  session: RegistrySession,
  repository: string,
  subject: Digest,
  referrer: Descriptor & { readonly artifactType?: string },
  signal?: AbortSignal,
): Promise<boolean> {
  const present = await fromTag(session, repository, subject, signal);
  if (present?.referrers.some(({ descriptor }) => descriptor.digest === referrer.digest) === true)
    return false;
  const before: unknown = present === undefined ? undefined : JSON.parse(present.json);
  const manifests =
    typeof before === 'object' && before !== null && 'manifests' in before ? before.manifests : [];
  const index = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.index,
    manifests: [...(Array.isArray(manifests) ? manifests : []), referrer],
  };
  const bytes = Buffer.from(JSON.stringify(index));
  const response = await session.send({
    method: 'PUT',
    scope: { repository, actions: 'pull,push' },
    path: `manifests/${referrersTag(subject)}`,
    headers: { 'content-type': MEDIA_TYPE.index, 'content-length': String(bytes.length) },
    body: bytes,
    accept: [200, 201, 202],
    doing: `list ${referrer.digest} (${digestOf(bytes).slice(0, 19)}) with what is attached to ${subject}`,
    signal,
  });
  response.discard();
  return true;
}

/** The address in a `Link` header with `rel="next"`. Source: RFC 8288 as distribution uses it. */
export function nextPage(link: string | undefined, from: URL): URL | undefined {
  const target = /<([^>]+)>\s*;[^,]*\brel="?next"?/i.exec(link ?? '')?.[1];
  if (target === undefined) return undefined;
  const url = new URL(target, from);
  // Another host would be asked without credentials and could say anything.
  return url.origin === from.origin ? url : undefined;
}
