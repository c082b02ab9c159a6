// RegistryClient: images to and from OCI registries, and what else can be asked of one.

import type { Clock, Random } from '@heptad/core';
import { systemClock, systemRandom } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { digestOf } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { type Descriptor, MAX_MANIFEST_BYTES } from '../image/manifest.ts';
import { ingestOf } from './blob-ingest.ts';
import type { CredentialOptions } from './credentials.ts';
import { tryEach } from './endpoints.ts';
import type { FetchedBlob } from './fetch-blob.ts';
import { HttpClient } from './http.ts';
import { locate, manifestName } from './location.ts';
import { type FetchedManifest, getManifest, headManifest } from './manifest-source.ts';
import { type Operation, startOperation } from './operation.ts';
import { type TransferEvent, transferKey } from './progress.ts';
import { ImagePull, type PulledImage, type PullOptions } from './pull.ts';
import { ImagePush, type PushedImage, type PushOptions } from './push.ts';
import { listReferrers, nextPage, type RegistryReferrer } from './referrers.ts';
import { DEFAULT_RETRY, type RetryOptions } from './retry.ts';
import { RegistrySessions } from './sessions.ts';
import { SingleFlight } from './single-flight.ts';

/** Options of {@link RegistryClient}. */
export interface RegistryClientOptions extends CredentialOptions {
  /** Speak plain HTTP instead of HTTPS. Default: only to this machine, when the registry there speaks nothing else. */
  readonly plainHttp?: boolean;
  /** PEM certificates of authorities to trust, beside those of Node and of the system. */
  readonly ca?: string | Uint8Array;
  /**
   * For a registry's name, places to pull from before it, in order: `https://host[:port][/path below which its
   * repositories are]`.
   */
  readonly mirrors?: Readonly<Record<string, readonly string[]>>;
  /** Longest silence of a registry before a request counts as failed. Milliseconds. Default 30 s. */
  readonly timeoutMs?: number;
  readonly retry?: Partial<RetryOptions>;
  readonly clock?: Clock;
  readonly random?: Random;
}

const DEFAULT_TIMEOUT_MS = 30_000;
// A repository of 100,000 tags is read in 100 pages.
const TAGS_PER_PAGE = 1_000;
const MAX_TAG_PAGES = 100;

// Shared by all clients of a store: two of them that pull images with the same layer fetch it once.
const flights = new WeakMap<ImageStore, SingleFlight<FetchedBlob>>();

/**
 * A client of OCI registries: Docker Hub, `distribution`, Harbor, and whatever else speaks the OCI distribution
 * protocol. One client keeps connections and tokens; close it when done.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { isHeptadError } from '@heptad/core';
 * import { ImageStore, RegistryClient } from '@heptad/container';
 *
 * const home = await mkdtemp(join(tmpdir(), 'images-'));
 * const images = await ImageStore.open({ home });
 * await using registry = new RegistryClient({ retry: { attempts: 1 } });
 * const pull = registry.pull(images, 'localhost:5000/shop/catalog:1.2');
 * try {
 *   for await (const event of pull) if (event.type === 'blob') console.log(event.digest, event.status);
 *   const { name, digest } = await pull;
 *   console.log(name, digest);
 * } catch (error) {
 *   // Without a registry on this port.
 *   if (!isHeptadError(error, 'REGISTRY_UNREACHABLE')) throw error;
 * }
 * await rm(home, { recursive: true });
 * ```
 */
export class RegistryClient implements AsyncDisposable {
  private readonly http: HttpClient;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly retry: RetryOptions;
  private readonly sessions: RegistrySessions;

  constructor(options: RegistryClientOptions = {}) {
    this.clock = options.clock ?? systemClock;
    this.random = options.random ?? systemRandom;
    this.retry = { ...DEFAULT_RETRY, ...options.retry };
    this.http = new HttpClient({
      plainHttp: options.plainHttp ?? false,
      timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    });
    this.sessions = new RegistrySessions(options, {
      http: this.http,
      retry: this.retry,
      clock: this.clock,
      random: this.random,
    });
  }

  /**
   * Pulls an image into the store. Await it for the result, iterate it for progress, or both. Throws
   * `INVALID_REFERENCE`, `IMAGE_NOT_FOUND`, `WRONG_PLATFORM`, `UNAUTHENTICATED`, `ACCESS_DENIED`, `RATE_LIMITED`,
   * `DIGEST_MISMATCH`, `REGISTRY_UNREACHABLE`, `REGISTRY_UNTRUSTED`, `PLAIN_HTTP_REFUSED`, `REGISTRY_FAILED`, `NO_SPACE`.
   */
  pull(
    images: ImageStore,
    reference: string,
    options: PullOptions = {},
  ): Operation<TransferEvent, PulledImage> {
    return startOperation(async (report) => {
      const location = locate(reference);
      const pull = new ImagePull(
        {
          images,
          ingest: ingestOf(images),
          sessions: this.sessions.sources(location),
          location,
          flights: flightsOf(images),
          retry: this.retry,
          clock: this.clock,
          random: this.random,
        },
        options,
        report,
      );
      return await pull.run();
    }, transferKey);
  }

  /** Pushes an image of the store. Await it, iterate it, or both. Throws as {@link pull}. */
  push(
    images: ImageStore,
    reference: string,
    options: PushOptions = {},
  ): Operation<TransferEvent, PushedImage> {
    return startOperation(async (report) => {
      const destination = locate(options.as ?? reference);
      const push = new ImagePush(
        {
          images,
          ingest: ingestOf(images),
          session: this.sessions.origin(destination),
          source: reference,
          destination,
          retry: this.retry,
          clock: this.clock,
          random: this.random,
        },
        options,
        report,
      );
      return await push.run();
    }, transferKey);
  }

  /** What a reference leads to at the registry, without fetching the image. */
  async resolve(reference: string, options: { signal?: AbortSignal } = {}): Promise<Descriptor> {
    const location = locate(reference);
    const { repository } = location;
    const name = manifestName(location);
    return await tryEach(
      this.sessions.sources(location),
      async (session) =>
        (await headManifest(session, repository, name, options.signal)) ??
        (await getManifest(session, repository, name, options.signal)).descriptor,
    );
  }

  /** A manifest or index as the registry has it, verified. */
  async manifest(reference: string, options: { signal?: AbortSignal } = {}): Promise<FetchedManifest> {
    const location = locate(reference);
    return await tryEach(this.sessions.sources(location), (session) =>
      getManifest(session, location.repository, manifestName(location), options.signal),
    );
  }

  /** A small blob (a config, a signature), verified. `repository` is a reference without tag. */
  async blob(
    repository: string,
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    options: { readonly signal?: AbortSignal; readonly maxBytes?: number } = {},
  ): Promise<Uint8Array> {
    const location = locate(repository);
    const maxBytes = options.maxBytes ?? MAX_MANIFEST_BYTES;
    return await tryEach(this.sessions.sources(location), async (session) => {
      const response = await session.send({
        method: 'GET',
        scope: { repository: location.repository, actions: 'pull' },
        path: `blobs/${descriptor.digest}`,
        headers: { 'accept-encoding': 'identity' },
        accept: [200],
        doing: `get ${descriptor.digest} of ${repository}`,
        signal: options.signal,
      });
      const bytes = await response.bytes(maxBytes);
      if (digestOf(bytes) === descriptor.digest) return bytes;
      throw new ContainerError(
        'DIGEST_MISMATCH',
        `refused ${descriptor.digest}: its digest is ${digestOf(bytes)}`,
        {
          hint: 'the registry or something on the way is damaged or tampers with content',
        },
      );
    });
  }

  /** The tags of a repository, in the registry's order. Throws `IMAGE_NOT_FOUND` when there is no such repository. */
  async tags(repository: string, options: { signal?: AbortSignal } = {}): Promise<string[]> {
    const location = locate(repository);
    const session = this.sessions.origin(location);
    const all: string[] = [];
    let path: string | URL = `tags/list?n=${TAGS_PER_PAGE}`;
    for (let page = 0; page < MAX_TAG_PAGES; page += 1) {
      const response = await session.send({
        method: 'GET',
        scope: { repository: location.repository, actions: 'pull' },
        path,
        accept: [200],
        doing: `list the tags of ${repository}`,
        signal: options.signal,
      });
      all.push(...tagsOf(await response.bytes(MAX_MANIFEST_BYTES), repository));
      const next = nextPage(response.header('link'), response.url);
      if (next === undefined) return all;
      path = next;
    }
    throw new ContainerError(
      'LIMIT_EXCEEDED',
      `${repository} has more than ${MAX_TAG_PAGES * TAGS_PER_PAGE} tags`,
    );
  }

  /** What is attached to an image: signatures, SBOMs. Through the referrers API, or the `sha256-<hex>` tag without it. */
  async referrers(
    reference: string,
    options: { readonly artifactType?: string; readonly signal?: AbortSignal } = {},
  ): Promise<RegistryReferrer[]> {
    const location = locate(reference);
    const digest = location.digest ?? (await this.resolve(reference, options)).digest;
    return await tryEach(this.sessions.sources(location), (session) =>
      listReferrers(session, location.repository, digest, options),
    );
  }

  /**
   * Deletes a manifest by digest (`name@sha256:...`, with every tag that leads to it), or a tag alone where the registry
   * can. Throws `NOT_SUPPORTED` when the registry does not allow it, `IMAGE_NOT_FOUND`.
   */
  async delete(reference: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    const location = locate(reference);
    const name = manifestName(location);
    const response = await this.sessions.origin(location).send({
      method: 'DELETE',
      scope: { repository: location.repository, actions: 'pull,push,delete' },
      path: `manifests/${name}`,
      accept: [200, 202, 204, 400, 405],
      doing: `delete ${reference}`,
      signal: options.signal,
    });
    response.discard();
    if (response.status < 300) return;
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot delete ${reference}: ${location.host} answered ${response.status}`,
      {
        hint:
          location.digest === undefined
            ? 'this registry deletes by digest only, which removes every tag of the image: resolve() tells the digest'
            : 'the registry does not allow deletion; its administrator can',
      },
    );
  }

  /** Closes the connections. */
  async close(): Promise<void> {
    await this.http.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function flightsOf(images: ImageStore): SingleFlight<FetchedBlob> {
  let known = flights.get(images);
  if (known === undefined) {
    known = new SingleFlight<FetchedBlob>();
    flights.set(images, known);
  }
  return known;
}

function tagsOf(bytes: Uint8Array, repository: string): string[] {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    const tags = typeof json === 'object' && json !== null && 'tags' in json ? json.tags : undefined;
    // Registries write null for a repository whose tags are all gone.
    if (tags === null || tags === undefined) return [];
    if (Array.isArray(tags) && tags.every((tag) => typeof tag === 'string')) return tags;
  } catch (cause) {
    throw new ContainerError('REGISTRY_FAILED', `the list of tags of ${repository} is not JSON`, { cause });
  }
  throw new ContainerError('REGISTRY_FAILED', `the list of tags of ${repository} is not a list`);
}
