// One blob to a registry: skipped when it is there, mounted from another repository when that has it, else uploaded.

import { isHeptadError } from '@heptad/core';
import { uploadInChunks } from './chunked-upload.ts';
import { pause } from './retry.ts';
import { type BlobUpload, counted, EMPTY_BODY, locationOf, withDigest } from './upload-request.ts';

/** How a blob came to be at the registry. */
export type UploadOutcome = 'present' | 'mounted' | 'uploaded';

// Each costs a round trip, and the first that is asked nearly always has it.
const MAX_MOUNT_TRIES = 3;

/** Whether the registry has the blob. */
export async function hasBlob(
  upload: Pick<BlobUpload, 'session' | 'repository' | 'descriptor' | 'signal'>,
): Promise<boolean> {
  const { session, repository, descriptor, signal } = upload;
  const response = await session.send({
    method: 'HEAD',
    scope: { repository, actions: 'pull,push' },
    path: `blobs/${descriptor.digest}`,
    accept: [200, 404],
    doing: `look for ${descriptor.digest} in ${repository}`,
    signal,
  });
  response.discard();
  return response.status === 200;
}

/** Sees to it that the registry has the blob. */
export async function uploadBlob(upload: BlobUpload): Promise<UploadOutcome> {
  if (await hasBlob(upload)) return 'present';
  let location: URL | undefined;
  for (const from of (await upload.mountFrom()).slice(0, MAX_MOUNT_TRIES)) {
    const tried = await mount(upload, from);
    if (tried === 'mounted') return 'mounted';
    // A registry that cannot mount has begun an ordinary upload instead; one such is enough.
    location ??= tried;
  }
  await transfer(upload, location);
  return 'uploaded';
}

async function mount(upload: BlobUpload, from: string): Promise<'mounted' | URL | undefined> {
  const { session, repository, descriptor, signal } = upload;
  try {
    const response = await session.send({
      method: 'POST',
      scope: { repository, actions: 'pull,push', mountFrom: from },
      path: `blobs/uploads/?mount=${encodeURIComponent(descriptor.digest)}&from=${encodeURIComponent(from)}`,
      headers: EMPTY_BODY,
      accept: [201, 202],
      doing: `mount ${descriptor.digest} from ${from} in ${repository}`,
      signal,
    });
    response.discard();
    return response.status === 201 ? 'mounted' : locationOf(response);
  } catch (error) {
    signal.throwIfAborted();
    // No right to read there, or no such repository: then it is uploaded, as it would have been without the attempt.
    if (isHeptadError(error) && MOUNT_REFUSALS.has(error.code)) return undefined;
    throw error;
  }
}

const MOUNT_REFUSALS: ReadonlySet<string> = new Set([
  'UNAUTHENTICATED',
  'ACCESS_DENIED',
  'IMAGE_NOT_FOUND',
  'REGISTRY_FAILED',
]);

/** Uploads, from the start when an attempt fails beyond repair. */
async function transfer(upload: BlobUpload, begun: URL | undefined): Promise<void> {
  let location = begun;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const started = location === undefined ? await begin(upload) : { location, minChunkBytes: 0 };
      const chunkBytes = Math.max(upload.chunkBytes, started.minChunkBytes);
      if (upload.descriptor.size > chunkBytes)
        await uploadInChunks({ ...upload, chunkBytes }, started.location);
      else await putWhole(upload, started.location);
      return;
    } catch (error) {
      upload.signal.throwIfAborted();
      if (!isHeptadError(error) || !error.retryable || attempt >= upload.retry.attempts) throw error;
      upload.onRetry?.(attempt, error);
      await pause(attempt, upload.retry, upload, 0, upload.signal);
      location = undefined;
    }
  }
}

async function begin(upload: BlobUpload): Promise<{ location: URL; minChunkBytes: number }> {
  const { session, repository, descriptor, signal } = upload;
  const response = await session.send({
    method: 'POST',
    scope: { repository, actions: 'pull,push' },
    path: 'blobs/uploads/',
    headers: EMPTY_BODY,
    accept: [202],
    doing: `upload ${descriptor.digest} to ${repository}`,
    signal,
  });
  response.discard();
  const minimum = Number(response.header('oci-chunk-min-length') ?? 0);
  return { location: locationOf(response), minChunkBytes: Number.isSafeInteger(minimum) ? minimum : 0 };
}

async function putWhole(upload: BlobUpload, location: URL): Promise<void> {
  const { session, repository, descriptor, signal } = upload;
  const response = await session.send({
    method: 'PUT',
    scope: { repository, actions: 'pull,push' },
    path: withDigest(location, descriptor),
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(descriptor.size) },
    body: () => counted(upload, 0, descriptor.size),
    accept: [201, 204],
    doing: `upload ${descriptor.digest} to ${repository}`,
    // What the registry kept of a broken upload is unknown: a new one is begun instead.
    repeat: false,
    signal,
  });
  response.discard();
}
