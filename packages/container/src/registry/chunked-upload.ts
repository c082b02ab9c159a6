// A large blob in chunks: after a failure the registry says how far it got, and the upload goes on from there.

import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { HttpResponse } from './http.ts';
import { pause } from './retry.ts';
import { type BlobUpload, counted, EMPTY_BODY, locationOf, withDigest } from './upload-request.ts';

/** Uploads in chunks of `upload.chunkBytes`. Source: OCI distribution, "Pushing a blob in chunks". */
export async function uploadInChunks(upload: BlobUpload, begun: URL): Promise<void> {
  const { descriptor, signal, retry } = upload;
  let location = begun;
  let offset = 0;
  for (let barren = 0; offset < descriptor.size; ) {
    try {
      const answer = await sendChunk(upload, location, offset);
      location = locationOf(answer);
      const next = receivedBytes(answer) ?? Math.min(offset + upload.chunkBytes, descriptor.size);
      requireSane(upload, next);
      barren = next > offset ? 0 : barren + 1;
      offset = next;
    } catch (error) {
      signal.throwIfAborted();
      barren += 1;
      if (!isHeptadError(error) || !error.retryable || barren >= retry.attempts) throw error;
      upload.onRetry?.(barren, error);
      await pause(barren, retry, upload, 0, signal);
      ({ location, offset } = await whereIsIt(upload, location));
    }
    if (barren >= retry.attempts)
      throw new ContainerError(
        'REGISTRY_FAILED',
        `${upload.session.host} accepts chunks of ${descriptor.digest} without keeping them`,
      );
  }
  await finish(upload, location);
}

async function sendChunk(upload: BlobUpload, location: URL, offset: number): Promise<HttpResponse> {
  const { session, repository, descriptor, signal } = upload;
  const length = Math.min(upload.chunkBytes, descriptor.size - offset);
  const response = await session.send({
    method: 'PATCH',
    scope: { repository, actions: 'pull,push' },
    path: location,
    headers: {
      'content-type': 'application/octet-stream',
      'content-length': String(length),
      'content-range': `${offset}-${offset + length - 1}`,
    },
    body: () => counted(upload, offset, length),
    // 416: the registry has another part than we think; asking tells which.
    accept: [202, 204, 416],
    doing: `upload bytes ${offset} to ${offset + length - 1} of ${descriptor.digest} to ${repository}`,
    repeat: false,
    signal,
  });
  response.discard();
  if (response.status !== 416) return response;
  throw new ContainerError(
    'REGISTRY_FAILED',
    `${session.host} expects another part of ${descriptor.digest}`,
    { retryable: true },
  );
}

/** Asks how much of an upload the registry has. */
async function whereIsIt(upload: BlobUpload, location: URL): Promise<{ location: URL; offset: number }> {
  const { session, repository, descriptor, signal } = upload;
  const response = await session.send({
    method: 'GET',
    scope: { repository, actions: 'pull,push' },
    path: location,
    accept: [204, 202, 200],
    doing: `ask how much of ${descriptor.digest} arrived`,
    signal,
  });
  response.discard();
  const offset = receivedBytes(response) ?? 0;
  requireSane(upload, offset);
  return { location: response.header('location') === undefined ? location : locationOf(response), offset };
}

/** Bytes that a `Range: 0-<last>` header tells of. An upload without a byte says `0-0` too, as Docker's registry does. */
function receivedBytes(response: HttpResponse): number | undefined {
  const last = /^(?:bytes=)?0-(\d+)$/.exec(response.header('range') ?? '')?.[1];
  if (last === undefined) return undefined;
  return last === '0' ? 0 : Number(last) + 1;
}

function requireSane(upload: BlobUpload, offset: number): void {
  if (offset <= upload.descriptor.size) return;
  throw new ContainerError(
    'REGISTRY_FAILED',
    `${upload.session.host} claims ${offset} bytes of ${upload.descriptor.digest}, which has ${upload.descriptor.size}`,
  );
}

async function finish(upload: BlobUpload, location: URL): Promise<void> {
  const { session, repository, descriptor, signal } = upload;
  const response = await session.send({
    method: 'PUT',
    scope: { repository, actions: 'pull,push' },
    path: withDigest(location, descriptor),
    headers: EMPTY_BODY,
    accept: [201, 204],
    doing: `finish the upload of ${descriptor.digest} to ${repository}`,
    repeat: false,
    signal,
  });
  response.discard();
}
