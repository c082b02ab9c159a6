// Sends the output of every container on the node to the platform's log store, as OTLP.

import { readFile, rename, writeFile } from 'node:fs/promises';
import type { Clock, ContainerRuntime, LogLine } from '@heptad/core';
import { z } from 'zod';
import { CONTAINER_LABEL } from './agent-api.ts';

/** Label that says which service a container belongs to. */
const SERVICE_LABEL = 'heptad.io/service';
/** How often containers are looked for and batches leave. */
const TICK_MS = 1_000;
/** Lines kept while the receiver is away; the oldest go first. Containers' own log files keep all. */
const MAX_WAITING_LINES = 20_000;
const MAX_BATCH_LINES = 2_000;
/** Half of what the receiver takes: JSON escapes and attributes come on top. */
const MAX_BATCH_CHARS = 1024 * 1024;
/** The receiver is not to blame for these: sending the same again cannot help. */
const HOPELESS_STATUS: ReadonlySet<number> = new Set([400, 413, 415, 422]);

const marksSchema = z.record(z.string(), z.number());

interface WaitingLine {
  readonly id: string;
  readonly container: string;
  readonly service: string;
  readonly line: LogLine;
}

/** Where logs go. */
export interface LogShipperOptions {
  readonly runtime: ContainerRuntime;
  readonly endpoint: string;
  readonly token: string;
  readonly clock: Clock;
  /** Remembers up to when each container's lines were sent, so that those of an agent's absence follow. */
  readonly marksFile?: string;
}

/** Follows all containers' logs and ships them in batches until closed. */
export class LogShipper implements AsyncDisposable {
  readonly #options: LogShipperOptions;
  readonly #stop = new AbortController();
  readonly #followed = new Set<string>();
  /** Time up to which each container's lines have been taken; those of new containers are taken from the first. */
  readonly #takenUntil = new Map<string, number>();
  readonly #startedAt: number;
  readonly #running: Promise<void>;
  /** As {@link LogShipper.#takenUntil}, but of what has arrived. */
  readonly #sentUntil = new Map<string, number>();
  #saved = '';
  #waiting: WaitingLine[] = [];

  constructor(options: LogShipperOptions) {
    this.#options = options;
    this.#startedAt = options.clock.now();
    this.#running = this.#run();
  }

  async #loadMarks(): Promise<void> {
    const { marksFile } = this.#options;
    if (marksFile === undefined) return;
    try {
      const marks = marksSchema.parse(JSON.parse(await readFile(marksFile, 'utf8')));
      for (const [id, at] of Object.entries(marks)) {
        this.#takenUntil.set(id, at);
        this.#sentUntil.set(id, at);
      }
    } catch {
      // The first start, or a file cut short: lines from now on are sent, as ever.
    }
  }

  async #saveMarks(): Promise<void> {
    const { marksFile } = this.#options;
    if (marksFile === undefined) return;
    const text = JSON.stringify(Object.fromEntries(this.#sentUntil));
    if (text === this.#saved) return;
    try {
      await writeFile(`${marksFile}.tmp`, text);
      await rename(`${marksFile}.tmp`, marksFile);
      this.#saved = text;
    } catch {
      // A full disk costs at most the lines of the next absence.
    }
  }

  async #run(): Promise<void> {
    const { clock, runtime } = this.#options;
    await this.#loadMarks();
    while (!this.#stop.signal.aborted) {
      const containers = await runtime.list().catch(() => undefined);
      if (containers !== undefined) {
        const present = new Set(containers.map(({ id }) => id));
        for (const marks of [this.#takenUntil, this.#sentUntil])
          for (const id of marks.keys()) if (!present.has(id)) marks.delete(id);
      }
      for (const container of containers ?? []) {
        if (container.labels[CONTAINER_LABEL] === undefined || this.#followed.has(container.id)) continue;
        this.#followed.add(container.id);
        void this.#follow(container.id, container.name, container.labels[SERVICE_LABEL] ?? container.name);
      }
      await this.#ship();
      await this.#saveMarks();
      await clock.sleep(TICK_MS, this.#stop.signal).catch(() => {});
    }
  }

  async #follow(id: string, container: string, service: string): Promise<void> {
    try {
      for await (const line of this.#options.runtime.logs(id, {
        follow: true,
        since: this.#takenUntil.get(id) ?? this.#startedAt,
        signal: this.#stop.signal,
      })) {
        this.#takenUntil.set(id, line.at + 1);
        this.#waiting.push({ id, container, service, line });
        if (this.#waiting.length > MAX_WAITING_LINES)
          this.#waiting.splice(0, this.#waiting.length - MAX_WAITING_LINES);
      }
    } catch {
      // The container is gone, or we are closing.
    }
    this.#followed.delete(id);
  }

  async #ship(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = nextBatch(this.#waiting);
      const sent = await fetch(`${this.#options.endpoint}/v1/logs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${this.#options.token}` },
        body: JSON.stringify(asOtlp(batch)),
        signal: AbortSignal.timeout(5_000),
      }).then(
        (response) => response.ok || HOPELESS_STATUS.has(response.status),
        () => false,
      );
      if (!sent) return;
      // The oldest may have been dropped meanwhile: only what was sent goes.
      const gone = new Set(batch);
      for (const { id, line } of batch) this.#sentUntil.set(id, line.at + 1);
      this.#waiting = this.#waiting.filter((line) => !gone.has(line));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#saveMarks();
  }
}

/** The oldest lines, as many as fit into one request; at least one. */
function nextBatch(waiting: readonly WaitingLine[]): WaitingLine[] {
  const batch: WaitingLine[] = [];
  let chars = 0;
  for (const one of waiting) {
    chars += one.line.text.length;
    if (batch.length >= MAX_BATCH_LINES || (chars > MAX_BATCH_CHARS && batch.length > 0)) break;
    batch.push(one);
  }
  return batch;
}

/** Severity, trace and text of a line that is a JSON log record (pino's shape), else the text as it is. */
function read(
  text: string,
  stream: string,
): { body: string; severity: string; traceId?: string; spanId?: string } {
  const fallback = stream === 'stderr' ? 'ERROR' : 'INFO';
  if (!text.startsWith('{')) return { body: text, severity: fallback };
  try {
    const record: unknown = JSON.parse(text);
    if (typeof record !== 'object' || record === null) return { body: text, severity: fallback };
    const field = (name: string): string | undefined => {
      const value: unknown = Reflect.get(record, name);
      return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
    };
    const level = field('level') ?? fallback;
    const names: Readonly<Record<string, string>> = {
      '10': 'TRACE',
      '20': 'DEBUG',
      '30': 'INFO',
      '40': 'WARN',
      '50': 'ERROR',
      '60': 'FATAL',
    };
    const traceId = field('traceId') ?? field('trace_id');
    const spanId = field('spanId') ?? field('span_id');
    return {
      body: text,
      severity: names[level] ?? level.toUpperCase(),
      ...(traceId === undefined ? {} : { traceId }),
      ...(spanId === undefined ? {} : { spanId }),
    };
  } catch {
    return { body: text, severity: fallback };
  }
}

const NANOS_PER_MS = 1_000_000n;

function asOtlp(lines: readonly WaitingLine[]): unknown {
  const byContainer = Map.groupBy(lines, (one) => one.container);
  return {
    resourceLogs: [...byContainer.values()].map((group) => ({
      resource: {
        attributes: [
          { key: 'service.name', value: { stringValue: group[0]?.service } },
          { key: 'service.instance.id', value: { stringValue: group[0]?.container } },
        ],
      },
      scopeLogs: [
        {
          logRecords: group.map(({ line }) => {
            const { body, severity, traceId, spanId } = read(line.text, line.stream);
            return {
              timeUnixNano: String(BigInt(Math.trunc(line.at)) * NANOS_PER_MS),
              severityText: severity,
              body: { stringValue: body },
              attributes: [{ key: 'stream', value: { stringValue: line.stream } }],
              ...(traceId === undefined ? {} : { traceId }),
              ...(spanId === undefined ? {} : { spanId }),
            };
          }),
        },
      ],
    })),
  };
}
