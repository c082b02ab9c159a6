// Push: blobs in parallel, then the manifests that name them, the one with the tag last, and what is attached to them.

import type { Clock, Random } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { type Digest, isDigest } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import type { Descriptor, ImageManifest } from '../image/manifest.ts';
import type { Referrer } from '../image/referrers.ts';
import type { BlobIngest } from './blob-ingest.ts';
import { allOrNone, Limiter } from './limiter.ts';
import type { RegistryLocation } from './location.ts';
import type { Report } from './operation.ts';
import type { TransferEvent } from './progress.ts';
import { blobsOf, mountCandidates, type PlannedManifest, planPush, read } from './push-plan.ts';
import { addToReferrersTag } from './referrers.ts';
import type { RetryOptions } from './retry.ts';
import type { RegistrySession } from './session.ts';
import { hasBlob, uploadBlob } from './upload-blob.ts';

/** Options of {@link RegistryClient.push}. */
export interface PushOptions {
  /** Where to. Default the reference itself: its first part names the registry. */
  readonly as?: string;
  /** Of an image for several platforms, push only this one, as the tag's only image. */
  readonly platform?: string;
  /** Repositories of the same registry to mount blobs from, beside those that the store knows. */
  readonly mountFrom?: readonly string[];
  /** Blobs larger than this are sent in chunks of it. Bytes. Default 64 MiB. */
  readonly chunkBytes?: number;
  /** Blobs sent at once. Default 3. */
  readonly maxParallelUploads?: number;
  /** Push what is attached to the image too: signatures, SBOMs. Default true. */
  readonly referrers?: boolean;
  /** Only find out what would be sent. Default false. */
  readonly dryRun?: boolean;
  /** Ends the push; what was uploaded stays at the registry, without a name. */
  readonly signal?: AbortSignal;
}

/** What was pushed. */
export interface PushedImage {
  /** Where it is now. */
  readonly reference: string;
  readonly digest: Digest;
  /** Blobs that were sent, or, in a dry run, would be. */
  readonly uploaded: readonly Descriptor[];
  /** Blobs the registry took from another of its repositories. */
  readonly mounted: readonly Descriptor[];
  /** Blobs that were there. */
  readonly present: readonly Descriptor[];
  /** Things attached to the image that were pushed with it. */
  readonly referrers: number;
}

/** What a push works with. */
export interface PushContext {
  readonly images: ImageStore;
  readonly ingest: BlobIngest;
  readonly session: RegistrySession;
  readonly source: string;
  readonly destination: RegistryLocation;
  readonly retry: RetryOptions;
  readonly clock: Clock;
  readonly random: Random;
}

const DEFAULT_PARALLEL_UPLOADS = 3;
// A chunk is what a broken line costs; smaller ones cost a round trip each.
const DEFAULT_CHUNK_BYTES = 64 * 1024 * 1024;
// Registries refuse or ignore smaller chunks, and each is one request.
const MIN_CHUNK_BYTES = 64 * 1024;

/** Carries out one push. */
export class ImagePush {
  private readonly context: PushContext;
  private readonly options: PushOptions;
  private readonly report: Report<TransferEvent>;
  private readonly controller = new AbortController();
  private readonly signal: AbortSignal;
  private readonly limiter: Limiter;
  private readonly outcome = {
    uploaded: new Map<Digest, Descriptor>(),
    mounted: new Map<Digest, Descriptor>(),
    present: new Map<Digest, Descriptor>(),
  };
  private candidates: Promise<Map<Digest, string[]>> | undefined;

  constructor(context: PushContext, options: PushOptions, report: Report<TransferEvent>) {
    this.context = context;
    this.options = options;
    this.report = report;
    const { signal } = this.controller;
    this.signal = options.signal === undefined ? signal : AbortSignal.any([signal, options.signal]);
    this.limiter = new Limiter(options.maxParallelUploads ?? DEFAULT_PARALLEL_UPLOADS);
    const { chunkBytes } = options;
    if (chunkBytes !== undefined && !(chunkBytes >= MIN_CHUNK_BYTES))
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot push in chunks of ${chunkBytes} bytes: at least ${MIN_CHUNK_BYTES} are needed`,
      );
  }

  /** Pushes. */
  async run(): Promise<PushedImage> {
    const { images, ingest, source, destination } = this.context;
    const { top, children, elsewhere } = await planPush(images, ingest, source, this.options.platform);
    const blobs = blobsOf([top, ...children]);
    this.report({
      type: 'resolved',
      reference: destination.reference,
      digest: top.descriptor.digest,
      blobs: blobs.length,
      bytes: blobs.reduce((sum, { size }) => sum + size, 0),
    });
    for (const descriptor of elsewhere) await this.requireThere(descriptor);
    await this.sendBlobs(blobs);
    for (const child of children) await this.putManifest(child, child.descriptor.digest);
    const name = destination.digest ?? destination.tag ?? 'latest';
    if (isDigest(name) && name !== top.descriptor.digest)
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot push ${top.descriptor.digest} as ${destination.reference}: the digests differ`,
      );
    await this.putManifest(top, name);
    const subjects = [...children, top].map(({ descriptor }) => descriptor.digest);
    const referrers = this.options.referrers === false ? 0 : await this.pushReferrers(subjects);
    const { uploaded, mounted, present } = this.outcome;
    return {
      reference: destination.reference,
      digest: top.descriptor.digest,
      uploaded: [...uploaded.values()],
      mounted: [...mounted.values()],
      present: [...present.values()],
      referrers,
    };
  }

  private async sendBlobs(blobs: readonly Descriptor[]): Promise<void> {
    await allOrNone(
      this.controller,
      blobs.map((blob) => () => this.limiter.run(() => this.sendBlob(blob))),
    );
  }

  private async sendBlob(descriptor: Descriptor): Promise<void> {
    const { session, destination, ingest, source } = this.context;
    const { digest, size } = descriptor;
    const { repository } = destination;
    this.signal.throwIfAborted();
    if (this.options.dryRun === true) {
      const isThere = await hasBlob({ session, repository, descriptor, signal: this.signal });
      (isThere ? this.outcome.present : this.outcome.uploaded).set(digest, descriptor);
      return;
    }
    if (!(await ingest.keep(descriptor))) {
      throw new ContainerError(
        'IMAGE_NOT_FOUND',
        `cannot push ${source}: its part ${digest} is not on this machine`,
        {
          hint: 'pull or load the image again',
          details: { digest },
        },
      );
    }
    this.report({ type: 'blob', digest, status: 'waiting', offset: 0, size });
    const outcome = await uploadBlob({
      ...this.context,
      repository,
      descriptor,
      read: (start, length) => ingest.stream(digest, start, length),
      chunkBytes: this.options.chunkBytes ?? DEFAULT_CHUNK_BYTES,
      mountFrom: () => this.mountFrom(digest),
      signal: this.signal,
      onOffset: (offset) => this.report({ type: 'blob', digest, status: 'transferring', offset, size }),
      onRetry: (attempt, error) =>
        this.report({ type: 'retry', what: digest, attempt, reason: error.message }),
    });
    this.outcome[outcome].set(digest, descriptor);
    this.report({
      type: 'blob',
      digest,
      status: outcome === 'uploaded' ? 'done' : outcome,
      offset: size,
      size,
    });
  }

  private async mountFrom(digest: Digest): Promise<string[]> {
    const { images, ingest, destination } = this.context;
    // Looked up only once a blob is missing at the registry: most pushes after the first need none.
    this.candidates ??= mountCandidates(images, ingest, destination);
    return [...new Set([...(this.options.mountFrom ?? []), ...((await this.candidates).get(digest) ?? [])])];
  }

  private async putManifest({ bytes, descriptor, manifest }: PlannedManifest, name: string): Promise<void> {
    if (this.options.dryRun === true) return;
    const { session, destination } = this.context;
    const response = await session.send({
      method: 'PUT',
      scope: { repository: destination.repository, actions: 'pull,push' },
      path: `manifests/${name}`,
      headers: { 'content-type': descriptor.mediaType, 'content-length': String(bytes.length) },
      body: bytes,
      accept: [200, 201, 202],
      doing: `put the manifest of ${destination.reference}`,
      signal: this.signal,
    });
    response.discard();
    const stored = response.header('docker-content-digest');
    if (stored?.startsWith('sha256:') === true && stored !== descriptor.digest) {
      throw new ContainerError(
        'DIGEST_MISMATCH',
        `${session.host} stored ${destination.reference} as ${stored} instead of ${descriptor.digest}`,
        {
          hint: 'the registry or something on the way changed the manifest',
        },
      );
    }
    // OCI 1.1: without this header the registry keeps no list of referrers, and the tag's list is ours to keep.
    if (manifest?.subject !== undefined && response.header('oci-subject') === undefined)
      await this.listReferrer(descriptor, manifest, manifest.subject.digest);
  }

  private async listReferrer(
    descriptor: Descriptor,
    manifest: ImageManifest,
    subject: Digest,
  ): Promise<void> {
    const { session, destination } = this.context;
    await addToReferrersTag(
      session,
      destination.repository,
      subject,
      {
        ...descriptor,
        artifactType: manifest.artifactType ?? manifest.config.mediaType,
        ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
      },
      this.signal,
    );
  }

  private async pushReferrers(subjects: readonly Digest[]): Promise<number> {
    const { images } = this.context;
    let count = 0;
    for (const subject of subjects) {
      for (const referrer of await images.referrers(subject)) {
        await this.pushReferrer(referrer);
        count += 1;
      }
    }
    return count;
  }

  private async pushReferrer({ descriptor, tag }: Referrer): Promise<void> {
    const { ingest, source } = this.context;
    const planned = await read(ingest, descriptor, `what is attached to ${source}`);
    await this.sendBlobs(blobsOf([planned]));
    await this.putManifest(planned, tag ?? descriptor.digest);
  }

  /** An image of an index that is not here is fine where the registry has it already. */
  private async requireThere(descriptor: Descriptor): Promise<void> {
    const { session, destination, source } = this.context;
    const response = await session.send({
      method: 'HEAD',
      scope: { repository: destination.repository, actions: 'pull,push' },
      path: `manifests/${descriptor.digest}`,
      headers: { accept: descriptor.mediaType },
      accept: [200, 404],
      doing: `look for ${descriptor.digest} in ${destination.repository}`,
      signal: this.signal,
    });
    response.discard();
    if (response.status === 200) return;
    throw new ContainerError(
      'IMAGE_NOT_FOUND',
      `cannot push all of ${source}: ${descriptor.digest} is neither on this machine nor in ${destination.repository}`,
      {
        hint: 'pull it with platform "all" first, or push one platform (option platform, flag --platform)',
        details: { digest: descriptor.digest },
      },
    );
  }
}
