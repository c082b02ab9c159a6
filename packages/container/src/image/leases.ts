// Leases: what somebody is about to use and nothing refers to yet, kept from garbage collection until released or expired.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Random } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { ensureDirectory, readJson, unlinkIfAny, writeJsonAtomic } from '../system/files.ts';
import type { KernelMutex } from '../system/kernel-lock.ts';
import { type Labels, validateLabels } from './content-labels.ts';

/** A thing a lease keeps: a blob by digest, a snapshot by name or key, an unfinished write by ref. */
export interface LeasedResource {
  readonly kind: 'content' | 'snapshot' | 'ingest';
  readonly id: string;
}

/** What is on disk of a lease. Times are milliseconds since 1970. */
export interface LeaseInfo {
  readonly id: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly labels: Labels;
  readonly resources: readonly LeasedResource[];
}

/** Options of {@link LeaseManager.create}. */
export interface LeaseOptions {
  /** Names the lease. Default a random one. */
  readonly id?: string;
  /** Ends the lease by itself, for the case that we are killed. Default 24 hours, as in containerd. */
  readonly expiresAfterMs?: number;
  /** `containerd.io/gc.flat`: keep the leased things themselves, not what they refer to. */
  readonly labels?: Labels;
}

/** A held lease; disposing of it releases what it kept. */
export interface Lease extends AsyncDisposable {
  readonly id: string;
  /**
   * Keeps these too. When this resolves, a collection has either deleted them before (look whether they are there) or
   * will not until the lease ends.
   */
  add(...resources: readonly LeasedResource[]): Promise<void>;
  release(): Promise<void>;
}

const DEFAULT_EXPIRY_MS = 24 * 60 * 60 * 1000;
// One image has at most 127 layers, an index 1,000 manifests; a lease of more is a mistake.
const MAX_RESOURCES = 20_000;

const schema = z.object({
  id: z.string(),
  createdAt: z.number(),
  expiresAt: z.number(),
  labels: z.record(z.string(), z.string()),
  resources: z.array(z.object({ kind: z.enum(['content', 'snapshot', 'ingest']), id: z.string() })),
});

/** The leases of one image store. */
export class LeaseManager {
  readonly directory: string;
  private readonly guard: KernelMutex;
  private readonly clock: Clock;
  private readonly random: Random;

  private constructor(directory: string, parts: { guard: KernelMutex; clock: Clock; random: Random }) {
    this.directory = directory;
    this.guard = parts.guard;
    this.clock = parts.clock;
    this.random = parts.random;
  }

  static async open(
    directory: string,
    parts: { guard: KernelMutex; clock: Clock; random: Random },
  ): Promise<LeaseManager> {
    await ensureDirectory(directory);
    return new LeaseManager(directory, parts);
  }

  /** Begins a lease. Throws `ALREADY_EXISTS` for an id in use, `INVALID_ARGUMENT`. */
  async create(options: LeaseOptions = {}): Promise<Lease> {
    const now = this.clock.now();
    const id = options.id ?? this.random.uuid(now);
    if (!/^[A-Za-z0-9_.-]{1,128}$/.test(id)) {
      throw new ContainerError('INVALID_ARGUMENT', `"${id.slice(0, 100)}" cannot name a lease`, {
        hint: 'use 1 to 128 letters, digits, ".", "_" or "-"',
      });
    }
    validateLabels(options.labels ?? {});
    const lease: LeaseInfo = {
      id,
      createdAt: now,
      expiresAt: now + (options.expiresAfterMs ?? DEFAULT_EXPIRY_MS),
      labels: options.labels ?? {},
      resources: [],
    };
    await this.guard.run(async () => {
      if ((await this.read(id)) !== undefined) {
        throw new ContainerError('ALREADY_EXISTS', `cannot begin lease "${id}": there is one of this id`);
      }
      await this.write(lease);
    });
    return {
      id,
      add: (...resources) => this.add(id, resources),
      release: () => this.delete(id),
      // What went wrong before is what counts; a lease that cannot be released ends by itself.
      [Symbol.asyncDispose]: () => this.delete(id).catch(() => undefined),
    };
  }

  /** Every lease, expired ones that no collection has met yet included. */
  async list(): Promise<LeaseInfo[]> {
    const leases: LeaseInfo[] = [];
    for (const name of await readdir(this.directory)) {
      const id = /^(.+)\.json$/.exec(name)?.[1];
      const lease = id === undefined ? undefined : await this.read(id);
      if (lease !== undefined) leases.push(lease);
    }
    return leases;
  }

  /** Adds to a lease. Throws `CONTENT_NOT_FOUND` when it was released or has expired and was collected. */
  async add(id: string, resources: readonly LeasedResource[]): Promise<void> {
    await this.guard.run(async () => {
      const lease = await this.read(id);
      if (lease === undefined) {
        throw new ContainerError('CONTENT_NOT_FOUND', `cannot add to lease "${id}": it has ended`, {
          hint: 'begin a new one, with a longer time if it expired',
        });
      }
      const all = new Map(
        [...lease.resources, ...resources].map((each) => [`${each.kind} ${each.id}`, each]),
      );
      if (all.size > MAX_RESOURCES)
        throw new ContainerError(
          'LIMIT_EXCEEDED',
          `lease "${id}" would keep more than ${MAX_RESOURCES} things`,
        );
      await this.write({ ...lease, resources: [...all.values()] });
    });
  }

  /** Ends a lease; one that is not there is fine. */
  async delete(id: string): Promise<void> {
    await unlinkIfAny(join(this.directory, `${id}.json`));
  }

  /** Ends those whose time is over; returns the others. Only for collections, which hold the guard. */
  async deleteExpired(): Promise<LeaseInfo[]> {
    const now = this.clock.now();
    const live: LeaseInfo[] = [];
    for (const name of await readdir(this.directory)) {
      const id = /^(.+)\.json$/.exec(name)?.[1];
      if (id === undefined) continue;
      const lease = await this.read(id);
      // One that a power cut tore belonged to a process that the same power cut ended.
      if (lease === undefined || lease.expiresAt <= now) await this.delete(id);
      else live.push(lease);
    }
    return live;
  }

  // Not durable: a lease protects a running process, and no process outlives a power cut.
  private async write(lease: LeaseInfo): Promise<void> {
    await writeJsonAtomic(join(this.directory, `${lease.id}.json`), lease, { durable: false });
  }

  private async read(id: string): Promise<LeaseInfo | undefined> {
    const parsed = schema.safeParse(
      await readJson(join(this.directory, `${id}.json`)).catch(() => undefined),
    );
    return parsed.success ? parsed.data : undefined;
  }
}
