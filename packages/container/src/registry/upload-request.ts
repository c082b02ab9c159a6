// What the requests of an upload share: its parameters, and the address that the registry gives for the next one.

import { Readable } from 'node:stream';
import type { Clock, Random } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { Descriptor } from '../image/manifest.ts';
import type { HttpResponse } from './http.ts';
import type { RetryOptions } from './retry.ts';
import type { RegistrySession } from './session.ts';

/** What an upload needs. */
export interface BlobUpload {
  readonly session: RegistrySession;
  readonly repository: string;
  readonly descriptor: Descriptor;
  /** The blob from byte `start` on, `length` bytes of it. */
  readonly read: (start: number, length: number) => Readable;
  /** Blobs larger than this go in chunks of it, each of which can be repeated alone. */
  readonly chunkBytes: number;
  /** Asks for repositories of the same registry that may have the blob. */
  readonly mountFrom: () => Promise<readonly string[]>;
  readonly retry: RetryOptions;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly onOffset?: (offset: number) => void;
  readonly onRetry?: (attempt: number, error: Error) => void;
}

/** Headers of a request without a body, which some registries insist on. */
export const EMPTY_BODY: Readonly<Record<string, string>> = { 'content-length': '0' };

/** A part of the blob that reports how much of it was taken. */
export function counted(upload: BlobUpload, start: number, length: number): Readable {
  const count = async function* (): AsyncGenerator<Uint8Array> {
    let offset = start;
    for await (const chunk of upload.read(start, length)) {
      const bytes: Uint8Array = chunk;
      yield bytes;
      offset += bytes.length;
      upload.onOffset?.(offset);
    }
  };
  return Readable.from(count(), { objectMode: false });
}

/** Where an upload goes on. */
export function locationOf(response: HttpResponse): URL {
  const text = response.header('location');
  if (text !== undefined && URL.canParse(text, response.url.href)) return new URL(text, response.url);
  throw new ContainerError(
    'REGISTRY_FAILED',
    `${response.url.host} accepted an upload but did not say where it goes on`,
  );
}

/** The address that ends an upload. Its own query is the registry's and must stay letter for letter. */
export function withDigest(location: URL, { digest }: Descriptor): URL {
  const joint = location.search === '' ? '?' : '&';
  return new URL(`${location.href}${joint}digest=${encodeURIComponent(digest)}`);
}
