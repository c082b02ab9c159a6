// Brings what is attached to an image at a registry (signatures, SBOMs) into the store, attached to the same image there.

import type { Clock, Random } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { digestHex } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { type Descriptor, isIndex, parseManifest } from '../image/manifest.ts';
import { MAX_REFERRERS } from '../image/referrers.ts';
import type { BlobIngest } from './blob-ingest.ts';
import { fetchBlob } from './fetch-blob.ts';
import type { RegistryLocation } from './location.ts';
import { type FetchedManifest, getManifest } from './manifest-source.ts';
import { listReferrers } from './referrers.ts';
import type { RetryOptions } from './retry.ts';
import type { RegistrySession } from './session.ts';

/** What fetching referrers works with. */
export interface ReferrerPull {
  readonly images: ImageStore;
  readonly ingest: BlobIngest;
  readonly session: RegistrySession;
  readonly location: RegistryLocation;
  /** The manifest or index that the referrers are about. */
  readonly subject: Descriptor;
  readonly retry: RetryOptions;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

// Signatures are kilobytes and SBOMs a few megabytes; an attachment of gigabytes must not ride along unasked.
const MAX_ATTACHMENT_BYTES = 64 * 1024 * 1024;
// The tags of cosign before it knew referrers: signatures, attestations, SBOMs.
const COSIGN_SUFFIXES = ['sig', 'att', 'sbom'];

/** Fetches and attaches all; returns how many. One that is too large or no artifact is an error that names it. */
export async function pullReferrers(pull: ReferrerPull): Promise<number> {
  const { session, location, subject, signal } = pull;
  const listed = await listReferrers(session, location.repository, subject.digest, { signal });
  if (listed.length > MAX_REFERRERS) {
    throw new ContainerError(
      'LIMIT_EXCEEDED',
      `${subject.digest} has ${listed.length} referrers at ${session.host}; at most ${MAX_REFERRERS} are fetched`,
    );
  }
  let count = 0;
  for (const { descriptor } of listed) {
    if (isIndex(descriptor)) continue;
    const fetched = await getManifest(session, location.repository, descriptor.digest, signal);
    await store(pull, fetched);
    await pull.images.attach(fetched.descriptor, { subject: subject.digest });
    count += 1;
  }
  for (const suffix of COSIGN_SUFFIXES) {
    const tag = `sha256-${digestHex(subject.digest)}.${suffix}`;
    const fetched = await getManifest(session, location.repository, tag, signal).catch(absent);
    if (fetched === undefined || isIndex(fetched.descriptor)) continue;
    await store(pull, fetched);
    await pull.images.attach(fetched.descriptor, { subject: subject.digest, tag });
    count += 1;
  }
  return count;
}

async function store(pull: ReferrerPull, fetched: FetchedManifest): Promise<void> {
  const { ingest, location } = pull;
  const manifest = parseManifest(fetched.bytes, `the artifact ${fetched.descriptor.digest}`);
  const parts = [manifest.config, ...manifest.layers];
  const bytes = parts.reduce((sum, { size }) => sum + size, 0);
  if (bytes > MAX_ATTACHMENT_BYTES) {
    throw new ContainerError(
      'LIMIT_EXCEEDED',
      `${fetched.descriptor.digest}, attached to ${location.reference}, has ${bytes} bytes; at most ${MAX_ATTACHMENT_BYTES} are fetched`,
      { hint: 'pull without referrers' },
    );
  }
  for (const descriptor of parts) {
    if (await ingest.keep(descriptor)) continue;
    await fetchBlob({ ...pull, repository: location.repository, descriptor });
  }
  await ingest.put(fetched.bytes, fetched.descriptor);
}

function absent(error: unknown): undefined {
  if (isHeptadError(error, 'IMAGE_NOT_FOUND')) return undefined;
  throw error;
}
