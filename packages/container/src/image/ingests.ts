// Unfinished writes of the content store: one file of bytes and one that describes it per ref, one writer at a time.

import { createHash } from 'node:crypto';
import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@heptad/core';
import { z } from 'zod';
import { ContainerError, diskError, errnoOf } from '../errors.ts';
import { ensureDirectory } from '../system/files.ts';
import { type KernelLock, type KernelMutex, lockName, tryKernelLock } from '../system/kernel-lock.ts';
import type { ContentLabels } from './content-labels.ts';
import {
  ContentWriter,
  type ExpectedContent,
  hashFile,
  type IngestStatus,
  ingestName,
  removeIngest,
} from './content-writer.ts';

const schema = z.object({
  ref: z.string(),
  startedAt: z.number(),
  total: z.number().optional(),
  expected: z.string().optional(),
});

const MAX_REF_LENGTH = 1_024;

/** What ingests share with their store. */
export interface IngestContext {
  readonly blobs: string;
  readonly labels: ContentLabels;
  readonly guard: KernelMutex;
  readonly clock: Clock;
}

/** The directory of unfinished writes. */
export class Ingests {
  private readonly path: string;
  private readonly context: IngestContext;
  private readonly lockPrefix: string;

  private constructor(path: string, context: IngestContext, lockPrefix: string) {
    this.path = path;
    this.context = context;
    this.lockPrefix = lockPrefix;
  }

  static async open(path: string, context: IngestContext): Promise<Ingests> {
    await ensureDirectory(path);
    return new Ingests(path, context, await lockName(path, 'ingest'));
  }

  /** See {@link ContentStore.writer}. */
  async writer(ref: string, expected: ExpectedContent): Promise<ContentWriter> {
    if (ref === '' || ref.length > MAX_REF_LENGTH) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot write content: a ref has 1 to ${MAX_REF_LENGTH} characters, this one ${ref.length}`,
      );
    }
    const name = ingestName(ref);
    const lock = await this.lock(name);
    if (lock === undefined) throw inUse(ref);
    try {
      const path = join(this.path, name);
      const file = await open(path, 'a+', 0o600);
      try {
        const hash = createHash('sha256');
        const offset = await hashFile(file, hash);
        const startedAt = await this.describe(ref, name, offset, expected);
        const description = this.description(name);
        return new ContentWriter({
          ...{ ref, file, hash, offset, startedAt, expected, path, description, lock },
          relock: () => this.lock(name),
          ...this.context,
        });
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      await lock.release();
      throw diskError(error, `write content "${ref}"`);
    }
  }

  /** See {@link ContentStore.status}. */
  async status(ref: string): Promise<IngestStatus> {
    const status = await this.read(ingestName(ref), ref);
    if (status !== undefined) return status;
    throw new ContainerError('CONTENT_NOT_FOUND', `nothing is being written as "${ref}"`);
  }

  /** See {@link ContentStore.statuses}. */
  async list(filter?: RegExp): Promise<IngestStatus[]> {
    const all = await Promise.all((await this.names()).map((name) => this.read(name)));
    return all.flatMap((each) => (each === undefined || filter?.test(each.ref) === false ? [] : [each]));
  }

  /** See {@link ContentStore.abort}. */
  async abort(ref: string): Promise<void> {
    const name = ingestName(ref);
    await this.status(ref);
    const lock = await this.lock(name);
    if (lock === undefined) throw inUse(ref);
    try {
      await removeIngest(join(this.path, name), this.description(name));
    } finally {
      await lock.release();
    }
  }

  /** See {@link ContentStore.deleteStaleIngests}. */
  async deleteStale(before: number, keep: (ref: string) => boolean): Promise<number> {
    let deleted = 0;
    for (const file of await readdir(this.path)) {
      const name = file.replace(/\.json$/, '');
      const isStale = async (): Promise<boolean> =>
        ((await stat(join(this.path, file)).catch(() => undefined))?.mtimeMs ?? Number.POSITIVE_INFINITY) <=
        before;
      if (!(await isStale())) continue;
      const status = await this.read(name);
      if (status !== undefined && keep(status.ref)) continue;
      const lock = await this.lock(name);
      if (lock === undefined) continue;
      try {
        // Once more: a writer may have come and gone between the look and the lock.
        if (!(await isStale())) continue;
        await removeIngest(join(this.path, name), this.description(name));
        if (file === name) deleted += 1;
      } finally {
        await lock.release();
      }
    }
    return deleted;
  }

  private lock(name: string): Promise<KernelLock | undefined> {
    return tryKernelLock(`${this.lockPrefix}-${name.slice(0, 32)}`);
  }

  private async names(): Promise<string[]> {
    return (await readdir(this.path)).filter((name) => /^[0-9a-f]{64}$/.test(name));
  }

  private description(name: string): string {
    return join(this.path, `${name}.json`);
  }

  /** Writes down what is being written; for a write taken up again, answers when it began. Need not survive a power cut. */
  private async describe(
    ref: string,
    name: string,
    offset: number,
    expected: ExpectedContent,
  ): Promise<number> {
    const known = offset === 0 ? undefined : await this.readDescription(name);
    const startedAt = known?.startedAt ?? this.context.clock.now();
    const text = JSON.stringify({ ref, startedAt, total: expected.size, expected: expected.digest });
    await writeFile(this.description(name), text, { mode: 0o600 });
    return startedAt;
  }

  private async readDescription(name: string): Promise<z.infer<typeof schema> | undefined> {
    try {
      return schema.parse(JSON.parse(await readFile(this.description(name), 'utf8')));
    } catch {
      // Lost or torn by a crash: the bytes are still good, for whoever names the ref.
      return undefined;
    }
  }

  /** What is known of a write; one whose description a crash tore is known only to whoever names its ref. */
  private async read(name: string, named?: string): Promise<IngestStatus | undefined> {
    const [info, described] = await Promise.all([
      stat(join(this.path, name)).catch((error: unknown) => {
        if (errnoOf(error) === 'ENOENT') return undefined;
        throw error;
      }),
      this.readDescription(name),
    ]);
    const ref = described?.ref ?? named;
    if (info === undefined || ref === undefined) return undefined;
    return {
      ref,
      offset: info.size,
      ...(described?.total === undefined ? {} : { total: described.total }),
      ...(described?.expected === undefined ? {} : { expected: described.expected }),
      startedAt: described?.startedAt ?? info.birthtimeMs,
      updatedAt: info.mtimeMs,
    };
  }
}

function inUse(ref: string): ContainerError {
  return new ContainerError('REF_IN_USE', `cannot write content "${ref}": it is being written already`, {
    hint: 'wait for the other write, or abort it',
    retryable: true,
  });
}
