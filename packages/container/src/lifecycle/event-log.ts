// The ordered events of one runtime: numbered, kept on disk, followed by any number of readers.

import { appendFile, open, readFile, rename } from 'node:fs/promises';
import type { ContainerEvent } from '@heptad/core';
import { z } from 'zod';
import { errnoOf } from '../errors.ts';

// Enough for a day of a busy machine; older events are of no use to a reader that has fallen so far behind.
const MAX_EVENTS = 10_000;
// The file is rewritten with the newest events when it has grown to this.
const MAX_FILE_BYTES = 8 * 1024 * 1024;

const schema = z.object({
  sequence: z.number().int().positive(),
  at: z.number(),
  type: z.enum([
    'create',
    'start',
    'pause',
    'resume',
    'stop',
    'die',
    'oom',
    'remove',
    'update',
    'rename',
    'restart',
    'health_status',
    'exec_start',
    'exec_die',
  ]),
  id: z.string(),
  name: z.string(),
  labels: z.record(z.string(), z.string()),
  exit: z.object({ exitCode: z.number(), oomKilled: z.boolean(), finishedAt: z.number() }).exactOptional(),
  health: z.enum(['starting', 'healthy', 'unhealthy']).exactOptional(),
  exec: z
    .object({ id: z.string(), command: z.array(z.string()), exitCode: z.number().exactOptional() })
    .exactOptional(),
  oldName: z.string().exactOptional(),
});

/** Appends events and replays them. */
export class EventLog {
  private readonly path: string;
  private events: ContainerEvent[];
  private readonly readers = new Set<() => void>();
  private writes: Promise<void> = Promise.resolve();
  private fileBytes: number;
  private closed = false;

  private constructor(path: string, events: ContainerEvent[], fileBytes: number) {
    this.path = path;
    this.events = events;
    this.fileBytes = fileBytes;
  }

  /** Reads what an earlier process wrote. A last line cut short by a crash is dropped. */
  static async open(path: string): Promise<EventLog> {
    let text = '';
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    const events = text.split('\n').flatMap((line) => parseEvent(line));
    const log = new EventLog(path, events.slice(-MAX_EVENTS), Buffer.byteLength(text));
    if (text !== '' && !text.endsWith('\n')) await log.rewrite();
    return log;
  }

  /** The events that are kept, oldest first. */
  history(): readonly ContainerEvent[] {
    return this.events;
  }

  /** Numbers an event, tells the readers, and resolves when the file holds it. */
  async append(event: Omit<ContainerEvent, 'sequence'>): Promise<void> {
    const sequence = (this.events.at(-1)?.sequence ?? 0) + 1;
    const numbered: ContainerEvent = { sequence, ...event };
    this.events.push(numbered);
    if (this.events.length > MAX_EVENTS * 1.1) this.events = this.events.slice(-MAX_EVENTS);
    // One after the other, so that the file has the order of the numbers. A full disk costs the event on disk only.
    this.writes = this.writes.then(() => this.write(numbered)).catch(() => undefined);
    for (const wake of this.readers) wake();
    await this.writes;
  }

  /** Events after number `since` (default: only those to come), until `signal` aborts or the log closes. */
  async *follow(options: { since?: number; signal?: AbortSignal } = {}): AsyncIterable<ContainerEvent> {
    let last = options.since ?? this.events.at(-1)?.sequence ?? 0;
    while (!this.closed && options.signal?.aborted !== true) {
      const next = this.events.filter((event) => event.sequence > last);
      if (next.length === 0) await this.nextChange(options.signal);
      for (const event of next) {
        last = event.sequence;
        yield event;
      }
    }
  }

  /** Waits for the file to hold every event and ends all readers. */
  async close(): Promise<void> {
    this.closed = true;
    for (const wake of this.readers) wake();
    await this.writes;
  }

  private nextChange(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.readers.delete(done);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      this.readers.add(done);
      signal?.addEventListener('abort', done, { once: true });
    });
  }

  private async write(event: ContainerEvent): Promise<void> {
    const line = `${JSON.stringify(event)}\n`;
    await appendFile(this.path, line, { mode: 0o600 });
    this.fileBytes += Buffer.byteLength(line);
    if (this.fileBytes > MAX_FILE_BYTES) await this.rewrite();
  }

  private async rewrite(): Promise<void> {
    const text = this.events.map((event) => `${JSON.stringify(event)}\n`).join('');
    const temporary = `${this.path}.tmp`;
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
    await rename(temporary, this.path);
    this.fileBytes = Buffer.byteLength(text);
  }
}

function parseEvent(line: string): ContainerEvent[] {
  if (line === '') return [];
  try {
    const parsed = schema.safeParse(JSON.parse(line));
    return parsed.success ? [parsed.data] : [];
  } catch {
    return [];
  }
}
