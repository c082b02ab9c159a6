// The wire form of the event bus over HTTP; described in docs/formats/event-bus-http.md.

import { type DeliveredEvent, HeptadError } from '@heptad/core';
import { z } from 'zod';

/** Media type of a subscription: one JSON object a line. */
export const STREAM_TYPE = 'application/x-ndjson' as const;
/** An empty line this often tells both sides that the other is alive. */
export const HEARTBEAT_MS: number = 5_000;
/** Silence after which a subscriber takes the stream for dead: three heartbeats lost. */
export const SILENCE_MS: number = 16_000;
/** A publish request: an event's data and headers with room for escaping. */
export const MAX_PUBLISH_BYTES: number = 3 * 1024 * 1024;
/** One line of a stream. */
export const MAX_LINE_BYTES: number = 3 * 1024 * 1024;

const newEvent = z.strictObject({
  key: z.string().optional(),
  data: z.unknown(),
  headers: z.record(z.string(), z.string()).optional(),
  id: z.string().optional(),
});

const delivered = z.object({
  topic: z.string(),
  position: z.number().int(),
  key: z.string().optional(),
  data: z.unknown(),
  headers: z.record(z.string(), z.string()),
  publishedAt: z.number(),
  attempt: z.number().int(),
});

const delivery = z.object({ delivery: z.string(), event: delivered });
const problem = z.object({
  code: z.string(),
  detail: z.string(),
  hint: z.string().optional(),
  retryable: z.boolean().optional(),
});

/** An event on its way to a subscriber, with the name under which it is settled. */
export interface Delivery {
  readonly delivery: string;
  readonly event: DeliveredEvent;
}

/** What a publisher sends. */
export interface PublishRequest {
  readonly key?: string;
  readonly data: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly id?: string;
}

/** Errors: `INVALID_ARGUMENT` with the paths of what is wrong. */
export function parsePublish(text: string): PublishRequest {
  return withoutUndefined(parse(newEvent, text, 'the published event'));
}

/** Errors: `BAD_RESPONSE`. */
export function parseDelivery(line: string): Delivery {
  const { delivery: name, event } = parse(delivery, line, 'a line of the event stream', 'BAD_RESPONSE');
  return { delivery: name, event: withoutUndefined(event) };
}

/** Errors: `BAD_RESPONSE`. */
export function parseDeliveredList(text: string): DeliveredEvent[] {
  const list = parse(z.object({ events: z.array(delivered) }), text, 'the list of events', 'BAD_RESPONSE');
  return list.events.map(withoutUndefined);
}

/** Errors: `BAD_RESPONSE`. */
export function parsePosition(text: string): number {
  return parse(z.object({ position: z.number().int() }), text, 'the answer to a publish', 'BAD_RESPONSE')
    .position;
}

/** The error that a problem response stands for. */
export function parseProblem(status: number, text: string, doing: string): HeptadError {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  const parsed = problem.safeParse(body);
  const overload = status === 429 || status === 502 || status === 503 || status === 504;
  if (!parsed.success) {
    return new HeptadError('UNAVAILABLE', `cannot ${doing}: the event bus answered with status ${status}`, {
      retryable: overload,
      details: { status },
    });
  }
  const { code, detail, hint, retryable } = parsed.data;
  return new HeptadError(code, detail, {
    retryable: retryable ?? overload,
    details: { status },
    ...(hint === undefined ? {} : { hint }),
  });
}

type Exact<T> = { [K in keyof T]: Exclude<T[K], undefined> };

// zod's optional fields may be `undefined`; ours are absent instead (exactOptionalPropertyTypes).
function withoutUndefined<T extends object>(value: T): Exact<T> {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Exact<T>;
}

function parse<T>(schema: z.ZodType<T>, text: string, what: string, code = 'INVALID_ARGUMENT'): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new HeptadError(code, `${what} is not JSON`, { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join('.') || '(all)'}: ${issue.message}`);
  throw new HeptadError(code, `${what} is not valid: ${issues.join('; ')}`, { details: { issues } });
}
