// Pull: a reference to manifests, their blobs in parallel, each layer unpacked as soon as those below it are, the name last.

import type { Clock, Random } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { chainIds, type Digest } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import {
  type Descriptor,
  type ImageConfig,
  type ImageManifest,
  parseImageConfig,
} from '../image/manifest.ts';
import {
  formatPlatform,
  hostPlatform,
  type Platform,
  parsePlatform,
  platformRank,
} from '../image/platform.ts';
import { parseReference } from '../image/reference.ts';
import type { BlobIngest, Hold } from './blob-ingest.ts';
import { tryEach } from './endpoints.ts';
import { type FetchedBlob, fetchBlob } from './fetch-blob.ts';
import { allOrNone, Limiter } from './limiter.ts';
import type { RegistryLocation } from './location.ts';
import type { Report } from './operation.ts';
import type { TransferEvent } from './progress.ts';
import {
  nameTarget,
  type PlannedImage,
  partsOf,
  planImages,
  resolveManifest,
  type WantedPlatform,
  wrongPlatform,
} from './pull-plan.ts';
import { pullReferrers } from './pull-referrers.ts';
import type { RetryOptions } from './retry.ts';
import type { RegistrySession } from './session.ts';
import type { SingleFlight } from './single-flight.ts';

/** Options of {@link RegistryClient.pull}. */
export interface PullOptions {
  /** `os/architecture[/variant]`, or `all` for every platform the image offers. Default this machine's. */
  readonly platform?: string;
  /** Extract the layers too, each as soon as it and those below it are here. Default false: a container does it. */
  readonly unpack?: boolean;
  /** Blobs fetched at once. Default 3, as Docker does. */
  readonly maxParallelDownloads?: number;
  /** Fetch what is attached to the image too: signatures, SBOMs. Default false. */
  readonly referrers?: boolean;
  /** Ends the pull; what arrived stays for the next one. */
  readonly signal?: AbortSignal;
}

/** What was pulled. */
export interface PulledImage {
  /** The name it has in the store now. */
  readonly name: string;
  /** What the reference leads to at the registry: a manifest, or an index of them. */
  readonly digest: Digest;
  /** The images that are here now. */
  readonly images: readonly { readonly platform: string; readonly digest: Digest }[];
  /** Bytes that came over the network; 0 when everything was here. Manifests are not counted. */
  readonly transferredBytes: number;
}

/** What a pull works with. */
export interface PullContext {
  readonly images: ImageStore;
  readonly ingest: BlobIngest;
  /** Mirrors first, the registry last. */
  readonly sessions: readonly RegistrySession[];
  readonly location: RegistryLocation;
  readonly flights: SingleFlight<FetchedBlob>;
  readonly retry: RetryOptions;
  readonly clock: Clock;
  readonly random: Random;
}

const DEFAULT_PARALLEL_DOWNLOADS = 3;

/** Carries out one pull. */
export class ImagePull {
  private readonly context: PullContext;
  private readonly options: PullOptions;
  private readonly report: Report<TransferEvent>;
  private readonly controller = new AbortController();
  private readonly signal: AbortSignal;
  private readonly limiter: Limiter;
  private readonly blobs = new Map<Digest, Promise<void>>();
  private readonly platforms = new Map<Digest, Platform>();
  private transferredBytes = 0;

  constructor(context: PullContext, options: PullOptions, report: Report<TransferEvent>) {
    this.context = context;
    this.options = options;
    this.report = report;
    const { signal } = this.controller;
    this.signal = options.signal === undefined ? signal : AbortSignal.any([signal, options.signal]);
    this.limiter = new Limiter(options.maxParallelDownloads ?? DEFAULT_PARALLEL_DOWNLOADS);
  }

  /** Pulls. What failed leaves verified blobs and unfinished downloads, which the next pull takes up and `gc` removes. */
  async run(): Promise<PulledImage> {
    const { images, ingest, location } = this.context;
    const wanted = this.options.platform === 'all' ? 'all' : this.wantedPlatform();
    // A denied image is not even asked for.
    const { requirement } = await images.trust.decide(location.reference);
    await using hold = await ingest.hold();
    const planning = {
      ...this.context,
      signal: this.signal,
      ask: <T>(request: (session: RegistrySession) => Promise<T>) => this.ask(request),
    };
    const top = await resolveManifest(planning);
    const planned = await planImages(planning, top, wanted);
    const parts = partsOf(planned);
    const subjects = [top.descriptor, ...planned.map(({ fetched }) => fetched.descriptor)];
    await hold.blobs([...subjects, ...parts]);
    const mustBeSigned = requirement.action === 'require-signature';
    if (mustBeSigned) await this.requireSigned(subjects);
    this.reportPlan(top.descriptor, parts);
    await allOrNone(
      this.controller,
      planned.map((image) => () => this.fetchImage(image, wanted, hold)),
    );
    // Content before what refers to it, and the name last: a pull killed anywhere leaves no name without its image.
    for (const { fetched } of planned) await ingest.put(fetched.bytes, fetched.descriptor);
    await ingest.put(top.bytes, top.descriptor);
    if (this.options.referrers === true && !mustBeSigned) await this.fetchReferrers(subjects);
    const target = nameTarget(location.reference, top, planned, wanted);
    const tag = await images.setTag(
      location.digest === undefined ? location.reference : `${repositoryOf(location)}@${target.digest}`,
      target,
    );
    return {
      name: tag.name,
      digest: top.descriptor.digest,
      images: planned.map(({ fetched: { descriptor }, platform }) => ({
        platform: formatPlatform(platform ?? this.platforms.get(descriptor.digest) ?? hostPlatform()),
        digest: descriptor.digest,
      })),
      transferredBytes: this.transferredBytes,
    };
  }

  private wantedPlatform(): Platform {
    return this.options.platform === undefined ? hostPlatform() : parsePlatform(this.options.platform);
  }

  private reportPlan(top: Descriptor, parts: readonly Descriptor[]): void {
    this.report({
      type: 'resolved',
      reference: this.context.location.reference,
      digest: top.digest,
      blobs: parts.length,
      bytes: parts.reduce((sum, { size }) => sum + size, 0),
    });
    for (const { digest, size } of parts)
      this.report({ type: 'blob', digest, status: 'waiting', offset: 0, size });
  }

  private async fetchImage(image: PlannedImage, wanted: WantedPlatform, hold: Hold): Promise<void> {
    const { manifest } = image;
    const configHere = this.fetch(manifest.config);
    const layersHere = manifest.layers.map((layer) => this.fetch(layer));
    const check = async (): Promise<ImageConfig> => {
      await configHere;
      return await this.readConfig(image, wanted);
    };
    const unpack = async (): Promise<void> => {
      const config = await check();
      if (this.options.unpack !== true) return;
      await hold.layers(chainIds(config.rootfs.diff_ids));
      await this.unpack(manifest, config, layersHere);
    };
    await allOrNone(this.controller, [unpack, ...layersHere.map((layer) => () => layer)]);
  }

  /** The image's config: it must fit the manifest, and, unless every platform is wanted, the platform asked for. */
  private async readConfig(
    { fetched, manifest, platform }: PlannedImage,
    wanted: WantedPlatform,
  ): Promise<ImageConfig> {
    const { reference } = this.context.location;
    const bytes = await this.context.ingest.bytes(manifest.config.digest);
    if (bytes === undefined)
      throw new ContainerError(
        'IMAGE_NOT_FOUND',
        `the config of ${reference} was removed while it was pulled`,
        { retryable: true },
      );
    const config = parseImageConfig(bytes, `the config of ${reference}`);
    if (config.rootfs.diff_ids.length !== manifest.layers.length) {
      throw new ContainerError(
        'IMAGE_INVALID',
        `image ${reference} has ${manifest.layers.length} layers but names ${config.rootfs.diff_ids.length}`,
      );
    }
    // One that came out of an index was chosen by the index's word, which may be more exact than the config's.
    if (wanted !== 'all' && platform === undefined && platformRank(wanted, config) === undefined)
      throw wrongPlatform(reference, wanted, [{ ...manifest.config, platform: config }]);
    this.platforms.set(fetched.descriptor.digest, config);
    return config;
  }

  /**
   * Extraction of a layer begins when it and those below it have arrived, without waiting for theirs to end: the store
   * lays layers out side by side and gives them their names from the bottom up.
   */
  private async unpack(
    manifest: ImageManifest,
    config: ImageConfig,
    layersHere: readonly Promise<void>[],
  ): Promise<void> {
    const chain = chainIds(config.rootfs.diff_ids);
    const unpacking: Promise<void>[] = [];
    try {
      for (const [index, layer] of manifest.layers.entries()) {
        const chainId = chain[index];
        const diffId = config.rootfs.diff_ids[index];
        await layersHere[index];
        this.signal.throwIfAborted();
        if (chainId === undefined || diffId === undefined) break;
        const work = this.unpackLayer(layer, diffId, chainId, chain[index - 1]);
        // A layer that is refused ends the downloads too; the error itself is thrown below.
        work.catch((error: unknown) => this.controller.abort(error));
        unpacking.push(work);
      }
      await Promise.all(unpacking);
    } finally {
      // Nothing is written any more when we answer.
      await Promise.allSettled(unpacking);
    }
  }

  private async unpackLayer(
    layer: Descriptor,
    diffId: Digest,
    chainId: Digest,
    parent: Digest | undefined,
  ): Promise<void> {
    await this.context.ingest.unpack(layer, diffId, chainId, parent);
    this.report({ type: 'unpacked', digest: layer.digest, chainId });
  }

  /** One blob, once however often the images of this pull share it. */
  private fetch(descriptor: Descriptor): Promise<void> {
    let fetching = this.blobs.get(descriptor.digest);
    if (fetching === undefined) {
      fetching = this.limiter.run(() => this.fetchOne(descriptor));
      // Whoever needs it learns of a failure by awaiting it; until then it must not count as unhandled.
      fetching.catch(() => undefined);
      this.blobs.set(descriptor.digest, fetching);
    }
    return fetching;
  }

  private async fetchOne(descriptor: Descriptor): Promise<void> {
    const { digest, size } = descriptor;
    this.signal.throwIfAborted();
    if (await this.context.ingest.keep(descriptor)) {
      this.report({ type: 'blob', digest, status: 'present', offset: size, size });
      return;
    }
    const { flights } = this.context;
    const { value, isOwner } = await flights.run(digest, this.signal, (signal) =>
      this.download(descriptor, signal),
    );
    if (isOwner) this.transferredBytes += value.transferredBytes;
    this.report({ type: 'blob', digest, status: 'done', offset: size, size });
  }

  private async download(descriptor: Descriptor, signal: AbortSignal): Promise<FetchedBlob> {
    const { ingest, location, retry, clock, random } = this.context;
    const { digest, size } = descriptor;
    return await this.ask(async (session) =>
      fetchBlob({
        session,
        repository: location.repository,
        descriptor,
        ingest,
        retry,
        clock,
        random,
        signal,
        onOffset: (offset) => this.report({ type: 'blob', digest, status: 'transferring', offset, size }),
        onRetry: (attempt, error) =>
          this.report({ type: 'retry', what: digest, attempt, reason: error.message }),
      }),
    );
  }

  /** Fetches the signatures and verifies them before a byte of the image itself is fetched. Throws `IMAGE_NOT_TRUSTED`. */
  private async requireSigned(subjects: readonly Descriptor[]): Promise<void> {
    const { images, location } = this.context;
    const digests = [...new Set(subjects.map(({ digest }) => digest))];
    try {
      await this.fetchReferrers(subjects);
      await images.trust.checkDigests(images, location.reference, digests);
    } catch (error) {
      // What is attached to an image that does not come is not kept either.
      for (const digest of digests)
        if ((await images.content.info(digest)) === undefined) await images.referrerIndex.forget(digest);
      throw error;
    }
  }

  private async fetchReferrers(targets: readonly Descriptor[]): Promise<void> {
    const subjects = new Map(targets.map((target) => [target.digest, target]));
    for (const subject of subjects.values()) {
      await this.ask((session) => pullReferrers({ ...this.context, session, subject, signal: this.signal }));
    }
  }

  private async ask<T>(request: (session: RegistrySession) => Promise<T>): Promise<T> {
    return await tryEach(this.context.sessions, request, (host, error) =>
      this.report({ type: 'retry', what: host, attempt: 1, reason: error.message }),
    );
  }
}

function repositoryOf({ reference }: RegistryLocation): string {
  return parseReference(reference).repository;
}
