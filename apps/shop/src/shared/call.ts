// Requests to the other services of the shop.

import { errorMessage, systemClock } from '@heptad/core';
import { Agent, fetch } from 'undici';
import { z } from 'zod';
import { HttpProblem } from './http.ts';
import type { Trace } from './trace.ts';

/** How a request is made. */
export interface CallOptions {
  readonly method?: 'GET' | 'POST';
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly trace: Trace;
}

/** A request to a neighbour and its answer; well above the mesh's own retries. */
const TIMEOUT_MS = 8_000;
/** Tries of a request that may be repeated. */
const MAX_TRIES = 3;
const RETRY_PAUSE_MS = 150;
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

// As a plain process we have no network of our own: a loopback address given to us alone is what tells the mesh who calls.
const OWN_ADDRESS = process.env.HOST;
const dispatcher = new Agent(OWN_ADDRESS?.startsWith('127.') ? { localAddress: OWN_ADDRESS } : {});

const problemSchema = z.object({ code: z.string(), detail: z.string(), hint: z.string().optional() });

/** `http://<name>:8080`, or where `<NAME>_SERVICE_HOST` and `_PORT` say. */
export function serviceUrl(name: string): string {
  const prefix = name.toUpperCase().replaceAll('-', '_');
  const host = process.env[`${prefix}_SERVICE_HOST`] ?? name;
  const port = process.env[`${prefix}_SERVICE_PORT`] ?? '8080';
  return `http://${host}:${port}`;
}

/**
 * Calls a service and answers its JSON. A refusal of the service becomes the same {@link HttpProblem}; a service that
 * cannot be reached becomes 503. Requests that are safe to repeat (GET, or with an Idempotency-Key) are tried again.
 */
export async function call(service: string, path: string, options: CallOptions): Promise<unknown> {
  const method = options.method ?? 'GET';
  const repeatable = method === 'GET' || options.headers?.['idempotency-key'] !== undefined;
  let reason = '';
  for (let attempt = 1; attempt <= (repeatable ? MAX_TRIES : 1); attempt += 1) {
    if (attempt > 1) await systemClock.sleep(RETRY_PAUSE_MS * attempt);
    try {
      const response = await fetch(`${serviceUrl(service)}${path}`, {
        method,
        dispatcher,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        headers: {
          accept: 'application/json',
          traceparent: options.trace.traceparent,
          ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...options.headers,
        },
        ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      });
      const text = await response.text();
      if (text.length > MAX_ANSWER_BYTES) throw new Error(`an answer of ${text.length} characters`);
      if (response.ok) return JSON.parse(text);
      if (response.status < 500) throw refusal(response.status, text);
      reason = `status ${response.status} ${text.slice(0, 200)}`;
    } catch (error) {
      if (error instanceof HttpProblem) throw error;
      reason =
        error instanceof Error && error.cause !== undefined ? errorMessage(error.cause) : errorMessage(error);
    }
  }
  throw new HttpProblem(
    503,
    'SERVICE_UNAVAILABLE',
    `the ${service} service cannot be reached: ${reason}`,
    'try again in a moment',
  );
}

function refusal(status: number, text: string): HttpProblem {
  const parsed = problemSchema.safeParse(safeJson(text));
  if (!parsed.success) return new HttpProblem(status, 'REFUSED', text.slice(0, 200));
  return new HttpProblem(status, parsed.data.code, parsed.data.detail, parsed.data.hint);
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
