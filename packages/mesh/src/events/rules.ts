// The rules of events that every driver enforces in the same words.

import { HeptadError, invalidArgument, type NewEvent } from '@heptad/core';

/** JSON text of an event's data. */
const MAX_DATA_BYTES = 1_048_576;
/** Headers of an event together; they are for routing and tracing, not for content. */
const MAX_HEADER_BYTES = 16 * 1024;
/** Keys, ids and group names are indexed: long ones would cost every lookup. */
const MAX_NAME_LENGTH = 256;
/** Most events one `read` answers. */
export const MAX_READ_LIMIT: number = 1_000;
/** A second publish with the same id within this time adds nothing. */
export const DEDUPE_MS: number = 10 * 60_000;

const TOPIC = /^[a-z0-9][a-z0-9.-]{0,127}$/;
const GROUP = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** An event as it is stored: data and headers as JSON text. */
export interface StoredEvent {
  readonly key: string | null;
  readonly id: string | null;
  readonly data: string;
  readonly headers: string;
}

/** Errors: `INVALID_ARGUMENT`. */
export function checkTopic(topic: string): void {
  if (!TOPIC.test(topic)) {
    throw invalidArgument(
      `"${topic}" is not a topic name`,
      'use lower-case letters, digits, dots and dashes, at most 128, such as "orders.created"',
    );
  }
}

/** Errors: `INVALID_ARGUMENT`. */
export function checkGroup(group: string): void {
  if (!GROUP.test(group)) {
    throw invalidArgument(
      `"${group}" is not a group name`,
      'use letters, digits, dots, dashes and underscores, at most 128',
    );
  }
}

/** Errors: `INVALID_ARGUMENT` for what is not JSON or too long a key or id, `EVENT_TOO_LARGE`. */
export function encodeEvent(topic: string, event: NewEvent): StoredEvent {
  const data = toJson(topic, event.data);
  const size = Buffer.byteLength(data);
  if (size > MAX_DATA_BYTES) throw tooLarge(topic, 'data', size, MAX_DATA_BYTES);
  const headers = JSON.stringify(event.headers ?? {});
  const headerSize = Buffer.byteLength(headers);
  if (headerSize > MAX_HEADER_BYTES) throw tooLarge(topic, 'headers', headerSize, MAX_HEADER_BYTES);
  for (const [what, text] of [
    ['key', event.key],
    ['id', event.id],
  ] as const) {
    if (text !== undefined && (text.length === 0 || text.length > MAX_NAME_LENGTH)) {
      throw invalidArgument(
        `the ${what} of an event for ${topic} must have 1 to ${MAX_NAME_LENGTH} characters, got ${text.length}`,
      );
    }
  }
  return { key: event.key ?? null, id: event.id ?? null, data, headers };
}

function toJson(topic: string, data: unknown): string {
  let text: string | undefined;
  let cause: unknown;
  try {
    text = JSON.stringify(data);
  } catch (error) {
    cause = error;
  }
  if (text !== undefined) return text;
  throw new HeptadError('INVALID_ARGUMENT', `the data of an event for ${topic} cannot be written as JSON`, {
    hint: 'publish plain objects, arrays, texts, numbers, booleans or null',
    ...(cause === undefined ? {} : { cause }),
  });
}

function tooLarge(topic: string, what: string, size: number, limit: number): HeptadError {
  return new HeptadError(
    'EVENT_TOO_LARGE',
    `the ${what} of an event for ${topic} take ${size} bytes; the limit is ${limit}`,
    { hint: 'put large content into the object store and publish its key', details: { size, limit } },
  );
}

/** Used after `close`. */
export function busClosed(doing: string): HeptadError {
  return new HeptadError('BUS_CLOSED', `cannot ${doing}: the event bus is closed`);
}
