// One blob from a registry into the store: verified while it streams, taken up where it broke off, bounded in its tries.

import type { Clock, Random } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { Descriptor } from '../image/manifest.ts';
import type { BlobIngest, BlobWriter } from './blob-ingest.ts';
import { type HttpResponse, transportError } from './http.ts';
import { pause, type RetryOptions } from './retry.ts';
import type { RegistrySession } from './session.ts';

/** What a download needs. */
export interface BlobFetch {
  readonly session: RegistrySession;
  readonly repository: string;
  readonly descriptor: Descriptor;
  readonly ingest: BlobIngest;
  readonly retry: RetryOptions;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Bytes of the blob that are here. */
  readonly onOffset?: (offset: number) => void;
  /** A broken download is about to be taken up. */
  readonly onRetry?: (attempt: number, error: Error) => void;
}

/** What a download cost. */
export interface FetchedBlob {
  /** Bytes that came over the network. */
  readonly transferredBytes: number;
}

/**
 * Downloads a blob. What arrived stays in the store when it fails, so that the next call, also of another process, asks
 * only for the rest. Throws `DIGEST_MISMATCH` (and then nothing stays), `REGISTRY_UNREACHABLE` and what a registry's
 * refusals mean.
 */
export async function fetchBlob(fetch: BlobFetch): Promise<FetchedBlob> {
  const progress = { transferredBytes: 0 };
  for (;;) {
    const writer = await fetch.ingest.writer(fetch.descriptor, fetch.signal);
    if (writer === undefined) return progress;
    const wasBegun = writer.offset > 0;
    try {
      await download(fetch, writer, progress);
      await writer.commit();
      return progress;
    } catch (error) {
      const isWrong = isHeptadError(error, 'DIGEST_MISMATCH');
      if (isWrong) await writer.abort();
      else await writer.close();
      // A beginning that an earlier process left may be damaged: once more, all of it. A whole download may not be.
      if (!wasBegun || !isWrong) throw error;
    }
  }
}

/** Fills the writer, asking again as long as something arrives. */
async function download(
  fetch: BlobFetch,
  writer: BlobWriter,
  progress: { transferredBytes: number },
): Promise<void> {
  const { descriptor, retry, signal } = fetch;
  if (writer.offset > descriptor.size) await writer.restart();
  fetch.onOffset?.(writer.offset);
  // Tries in a row that gained nothing: a line that drops every few megabytes still gets the layer.
  for (let barren = 0; writer.offset < descriptor.size || descriptor.size === 0; ) {
    signal.throwIfAborted();
    const before = writer.offset;
    try {
      await receive(fetch, writer, progress);
      if (writer.offset === descriptor.size) return;
      throw new ContainerError(
        'REGISTRY_UNREACHABLE',
        `${fetch.session.host} ended ${descriptor.digest} after ${writer.offset} of ${descriptor.size} bytes`,
        {
          retryable: true,
          hint: 'the connection or the registry is faulty; pulling again goes on from here',
        },
      );
    } catch (error) {
      signal.throwIfAborted();
      barren = writer.offset > before ? 1 : barren + 1;
      if (!isHeptadError(error) || !error.retryable || barren >= retry.attempts) throw error;
      fetch.onRetry?.(barren, error);
      await pause(barren, retry, fetch, 0, signal);
    }
  }
}

/** One request for what is missing, and its answer into the writer. */
async function receive(
  fetch: BlobFetch,
  writer: BlobWriter,
  progress: { transferredBytes: number },
): Promise<void> {
  const { session, repository, descriptor, signal } = fetch;
  const { offset } = writer;
  const response = await session.send({
    method: 'GET',
    scope: { repository, actions: 'pull' },
    path: `blobs/${descriptor.digest}`,
    headers: {
      // A proxy that compresses would change both bytes and offsets.
      'accept-encoding': 'identity',
      ...(offset > 0 ? { range: `bytes=${offset}-` } : {}),
    },
    accept: offset > 0 ? [200, 206, 416] : [200],
    doing: `get ${descriptor.digest} of ${repository}`,
    signal,
  });
  if (!isContinuation(response, offset)) {
    // What we have is not what the registry would continue: start over, with this answer when it is the whole blob.
    if (offset > 0) await writer.restart();
    if (response.status !== 200) {
      response.discard();
      return await receive(fetch, writer, progress);
    }
  }
  requireLength(response, descriptor, writer.offset);
  try {
    for await (const chunk of response.body) {
      const bytes: Uint8Array = chunk;
      progress.transferredBytes += bytes.length;
      if (writer.offset + bytes.length > descriptor.size) throw tooLong(fetch, descriptor);
      await writer.write(bytes);
      fetch.onOffset?.(writer.offset);
    }
  } catch (error) {
    response.discard();
    signal.throwIfAborted();
    throw isNetwork(error) ? transportError(error, response.url) : error;
  }
}

/** Whether the answer begins exactly where the writer ends. A server that ignores ranges sends everything, with 200. */
function isContinuation(response: HttpResponse, offset: number): boolean {
  if (offset === 0) return true;
  if (response.status !== 206) return false;
  return /^bytes (\d+)-/.exec(response.header('content-range') ?? '')?.[1] === String(offset);
}

function requireLength(response: HttpResponse, descriptor: Descriptor, offset: number): void {
  const length = response.header('content-length');
  if (length === undefined || Number(length) <= descriptor.size - offset) return;
  response.discard();
  throw new ContainerError(
    'DIGEST_MISMATCH',
    `refused ${descriptor.digest}: ${response.url.host} would send ${Number(length) + offset} bytes, the manifest says ${descriptor.size}`,
    { hint: MISMATCH_HINT, details: { expected: descriptor.digest } },
  );
}

function tooLong(fetch: BlobFetch, descriptor: Descriptor): ContainerError {
  return new ContainerError(
    'DIGEST_MISMATCH',
    `refused ${descriptor.digest}: ${fetch.session.host} sends more than the ${descriptor.size} bytes that the manifest says`,
    { hint: MISMATCH_HINT, details: { expected: descriptor.digest } },
  );
}

const MISMATCH_HINT =
  'the registry or something on the way is damaged or tampers with content; try another source';

/** Errors of the connection have codes of undici or of the system's sockets; those of the disk must pass as they are. */
function isNetwork(error: unknown): boolean {
  if (error instanceof ContainerError || !(error instanceof Error)) return false;
  const code = 'code' in error ? String(error.code) : '';
  return (
    code.startsWith('UND_ERR') || /^(ECONN|EPIPE|ETIMEDOUT|EHOST|ENET|ERR_SSL|HPE_)/.test(code) || code === ''
  );
}
