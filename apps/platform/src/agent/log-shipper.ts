// Sends the output of every container on the node to the platform's log store, as OTLP.

import type { Clock, ContainerRuntime, LogLine } from '@heptad/core';
import { CONTAINER_LABEL } from './agent-api.ts';

/** Label that says which service a container belongs to. */
const SERVICE_LABEL = 'heptad.io/service';
/** How often containers are looked for and batches leave. */
const TICK_MS = 1_000;
/** Lines kept while the receiver is away; the oldest go first. Containers' own log files keep all. */
const MAX_WAITING_LINES = 20_000;
const MAX_BATCH_LINES = 2_000;

interface WaitingLine {
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
}

/** Follows all containers' logs and ships them in batches until closed. */
export class LogShipper implements AsyncDisposable {
  readonly #options: LogShipperOptions;
  readonly #stop = new AbortController();
  readonly #followed = new Set<string>();
  readonly #running: Promise<void>;
  #waiting: WaitingLine[] = [];

  constructor(options: LogShipperOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    const { clock, runtime } = this.#options;
    while (!this.#stop.signal.aborted) {
      for (const container of await runtime.list().catch(() => [])) {
        if (container.labels[CONTAINER_LABEL] === undefined || this.#followed.has(container.id)) continue;
        this.#followed.add(container.id);
        void this.#follow(container.id, container.name, container.labels[SERVICE_LABEL] ?? container.name);
      }
      await this.#ship();
      await clock.sleep(TICK_MS, this.#stop.signal).catch(() => {});
    }
  }

  async #follow(id: string, container: string, service: string): Promise<void> {
    try {
      for await (const line of this.#options.runtime.logs(id, {
        follow: true,
        tail: 0,
        signal: this.#stop.signal,
      })) {
        this.#waiting.push({ container, service, line });
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
      const batch = this.#waiting.slice(0, MAX_BATCH_LINES);
      const sent = await fetch(`${this.#options.endpoint}/v1/logs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${this.#options.token}` },
        body: JSON.stringify(asOtlp(batch)),
        signal: AbortSignal.timeout(5_000),
      }).then(
        (response) => response.ok,
        () => false,
      );
      if (!sent) return;
      this.#waiting = this.#waiting.slice(batch.length);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
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
