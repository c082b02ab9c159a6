// What is remembered of each attachment: written before it is made, kept in memory for those who look names up.

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId } from '@heptad/core';
import { z } from 'zod';
import { deleteAbandonedTemporaries, ensureDirectory, readJson, writeJsonAtomic } from '../system/files.ts';
import type { CniResult, NetworkConfig } from './cni.ts';

const schema = z.object({
  id: z.string(),
  network: z.object({ name: z.string(), plugins: z.array(z.looseObject({ type: z.string() })) }),
  runtime: z.record(z.string(), z.unknown()),
  connected: z.boolean(),
  result: z.looseObject({}).optional(),
  namespace: z.string().optional(),
  interfaceName: z.string().optional(),
  names: z.array(z.string()).optional(),
  servers: z.array(z.string()).optional(),
  ports: z
    .array(
      z.object({
        protocol: z.enum(['tcp', 'udp']),
        hostAddress: z.string(),
        hostPort: z.number(),
        containerPort: z.number(),
      }),
    )
    .optional(),
});
/** A port of an attachment. */
export interface RecordedPort {
  readonly protocol: 'tcp' | 'udp';
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly containerPort: number;
}

/** One attachment. DEL must get the very config that ADD got. */
export interface AttachmentRecord {
  readonly id: ContainerId;
  readonly network: NetworkConfig;
  readonly runtime: Readonly<Record<string, unknown>>;
  /** ADD was begun. */
  readonly connected: boolean;
  /** What ADD answered. */
  readonly result?: CniResult | undefined;
  /** The namespace, when another network made it. */
  readonly namespace?: string | undefined;
  readonly interfaceName?: string | undefined;
  readonly names?: readonly string[] | undefined;
  readonly servers?: readonly string[] | undefined;
  readonly ports?: readonly RecordedPort[] | undefined;
}

/** The address that ADD answered. */
export function addressOf(record: AttachmentRecord): string | undefined {
  return record.result?.ips?.[0]?.address.split('/')[0];
}

/** The attachments of one network. Read once, then kept in step with the disk: one process owns them. */
export class AttachmentStore {
  readonly directory: string;
  private loaded: Promise<Map<ContainerId, AttachmentRecord>> | undefined;
  private records: ReadonlyMap<ContainerId, AttachmentRecord> = new Map();

  constructor(directory: string) {
    this.directory = directory;
  }

  /** All that are known; those on disk only after {@link load}. */
  all(): AttachmentRecord[] {
    return [...this.records.values()];
  }

  /** Reads the directory, once. */
  load(): Promise<Map<ContainerId, AttachmentRecord>> {
    this.loaded ??= this.read();
    // A failure is not remembered: the disk may be back.
    this.loaded.catch(() => {
      this.loaded = undefined;
    });
    return this.loaded;
  }

  private async read(): Promise<Map<ContainerId, AttachmentRecord>> {
    await ensureDirectory(this.directory);
    await deleteAbandonedTemporaries(this.directory);
    const records = new Map<ContainerId, AttachmentRecord>();
    for (const file of await readdir(this.directory)) {
      const id = file.replace(/\.json$/, '');
      if (!/^[0-9a-f]{64}$/.test(id)) continue;
      // One that cannot be read is known by its id all the same: taking it back needs no more than that.
      const parsed = schema.safeParse(await readJson(this.path(id)).catch(() => undefined));
      const unreadable: AttachmentRecord = {
        id,
        network: { name: '', plugins: [] },
        runtime: {},
        connected: false,
      };
      // The result is as the plugin gave it, and was checked then.
      records.set(id, parsed.success ? (parsed.data as AttachmentRecord) : unreadable);
    }
    this.records = records;
    return records;
  }

  async get(id: ContainerId): Promise<AttachmentRecord | undefined> {
    return (await this.load()).get(id);
  }

  /** What is known without reading. */
  peek(id: ContainerId): AttachmentRecord | undefined {
    return this.records.get(id);
  }

  async save(record: AttachmentRecord): Promise<void> {
    const records = await this.load();
    // Losing it in a power cut is fine: then the namespaces and addresses are gone as well.
    await writeJsonAtomic(this.path(record.id), record, { durable: false });
    records.set(record.id, record);
  }

  async remove(id: ContainerId): Promise<void> {
    const records = await this.load();
    await rm(this.path(id), { force: true });
    records.delete(id);
  }

  /** The file of one. */
  path(id: ContainerId): string {
    return join(this.directory, `${id}.json`);
  }
}
