// The durable memory of chaos: which faults are out there (so that anybody can take them back) and the reports.

import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HeptadError, type Random, type StateStore } from '@heptad/core';
import { z } from 'zod';
import type { ExperimentReport } from './report.ts';
import type { FaultRecord } from './types.ts';

/** Reports kept; the oldest goes first. */
export const REPORTS_MAX = 200;

/** Where faults and reports are remembered. */
export interface ChaosJournal {
  /** Durable when it resolves: a fault is injected only after this. */
  addFault(record: FaultRecord): Promise<void>;
  /** Pushes the end on. Resolves with false when the fault is not there any more: somebody took it back. */
  renewFault(id: string, expiresAt: number): Promise<boolean>;
  removeFault(id: string): Promise<void>;
  faults(): Promise<readonly FaultRecord[]>;
  saveReport(report: ExperimentReport): Promise<void>;
  /** Error: `REPORT_NOT_FOUND`. */
  report(id: string): Promise<ExperimentReport>;
  /** Newest first. */
  reportIds(): Promise<readonly string[]>;
}

const faultSchema: z.ZodType<FaultRecord> = z.object({
  id: z.string(),
  experimentId: z.string(),
  type: z.string(),
  target: z.string(),
  instances: z.array(z.object({ id: z.string() }).loose()),
  expiresAt: z.number(),
  data: z.record(z.string(), z.unknown()),
});
const reportSchema = z.object({ format: z.literal('heptad-chaos-report/1'), id: z.string() }).loose();

function parseFault(text: string): FaultRecord {
  return faultSchema.parse(JSON.parse(text));
}

// The shape beyond its format mark is what this package itself wrote.
function parseReport(text: string): ExperimentReport {
  return reportSchema.parse(JSON.parse(text)) as unknown as ExperimentReport;
}

function notFound(id: string): HeptadError<'REPORT_NOT_FOUND'> {
  return new HeptadError('REPORT_NOT_FOUND', `there is no chaos report ${id}`, {
    hint: 'list the reports, or run an experiment first',
  });
}

const FAULTS = '/chaos/faults/';
const REPORTS = '/chaos/reports/';

/** Keeps the journal in a {@link StateStore}, under `/chaos/`. */
export class StoreJournal implements ChaosJournal {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  async addFault(record: FaultRecord): Promise<void> {
    await this.#put(FAULTS + record.id, record);
  }

  async renewFault(id: string, expiresAt: number): Promise<boolean> {
    const key = FAULTS + id;
    const found = (await this.#store.range({ key })).kvs[0];
    if (found === undefined) return false;
    const value = JSON.stringify({ ...parseFault(found.value), expiresAt });
    const { succeeded } = await this.#store.txn({
      compare: [{ key, target: 'modRevision', is: '=', than: found.modRevision }],
      success: [{ op: 'put', key, value }],
    });
    return succeeded;
  }

  async removeFault(id: string): Promise<void> {
    await this.#store.txn({ compare: [], success: [{ op: 'delete', key: FAULTS + id }] });
  }

  async faults(): Promise<readonly FaultRecord[]> {
    const { kvs } = await this.#store.range({ key: FAULTS, prefix: true });
    return kvs.map(({ value }) => parseFault(value));
  }

  async saveReport(report: ExperimentReport): Promise<void> {
    await this.#put(REPORTS + report.id, report);
    for (const id of (await this.reportIds()).slice(REPORTS_MAX)) {
      await this.#store.txn({ compare: [], success: [{ op: 'delete', key: REPORTS + id }] });
    }
  }

  async report(id: string): Promise<ExperimentReport> {
    const found = (await this.#store.range({ key: REPORTS + id })).kvs[0];
    if (found === undefined) throw notFound(id);
    return parseReport(found.value);
  }

  async reportIds(): Promise<readonly string[]> {
    const { kvs } = await this.#store.range({ key: REPORTS, prefix: true });
    return kvs.map(({ key }) => key.slice(REPORTS.length)).reverse();
  }

  async #put(key: string, value: unknown): Promise<void> {
    await this.#store.txn({ compare: [], success: [{ op: 'put', key, value: JSON.stringify(value) }] });
  }
}

/** Keeps the journal as files of a directory, for running without a state store. Each write is fsynced and renamed. */
export class FileJournal implements ChaosJournal {
  readonly #directory: string;
  readonly #random: Random;

  constructor(directory: string, random: Random) {
    this.#directory = directory;
    this.#random = random;
  }

  async addFault(record: FaultRecord): Promise<void> {
    await this.#write('faults', record.id, record);
  }

  async renewFault(id: string, expiresAt: number): Promise<boolean> {
    const found = (await this.faults()).find((fault) => fault.id === id);
    if (found === undefined) return false;
    await this.#write('faults', id, { ...found, expiresAt });
    return true;
  }

  async removeFault(id: string): Promise<void> {
    await rm(this.#path('faults', id), { force: true });
  }

  async faults(): Promise<readonly FaultRecord[]> {
    const ids = await this.#ids('faults');
    return Promise.all(ids.map(async (id) => parseFault(await readFile(this.#path('faults', id), 'utf8'))));
  }

  async saveReport(report: ExperimentReport): Promise<void> {
    await this.#write('reports', report.id, report);
    for (const id of (await this.reportIds()).slice(REPORTS_MAX))
      await rm(this.#path('reports', id), { force: true });
  }

  async report(id: string): Promise<ExperimentReport> {
    if (!(await this.#ids('reports')).includes(id)) throw notFound(id);
    return parseReport(await readFile(this.#path('reports', id), 'utf8'));
  }

  async reportIds(): Promise<readonly string[]> {
    return (await this.#ids('reports')).sort().reverse();
  }

  #path(kind: string, id: string): string {
    return join(this.#directory, kind, `${id}.json`);
  }

  async #ids(kind: string): Promise<string[]> {
    await mkdir(join(this.#directory, kind), { recursive: true });
    const names = await readdir(join(this.#directory, kind));
    return names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -5));
  }

  async #write(kind: string, id: string, value: unknown): Promise<void> {
    await mkdir(join(this.#directory, kind), { recursive: true });
    const temporary = join(this.#directory, kind, `${id}.${this.#random.integer(1e9)}.tmp`);
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(JSON.stringify(value));
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.#path(kind, id));
  }
}
