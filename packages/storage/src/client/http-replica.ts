// Requests to storage nodes over HTTP, with time limits, checksums verified on arrival, and layouts kept in step.

import { type Clock, errorMessage, HeptadError } from '@heptad/core';
import { Agent, request } from 'undici';
import { StorageError } from '../errors.ts';
import { type Tag, ZERO_TAG } from '../model/tag.ts';
import { type ObjectId, objectId, sha256Hex } from '../model/version.ts';
import type { AcceptedLayout } from '../node/layout-keeper.ts';
import type { Layout } from '../placement/layout.ts';
import {
  LAYOUT_HEADER,
  type NodeStatus,
  type ObjectEntry,
  packVersionHeader,
  parseEntries,
  parseMaybeLayout,
  parseNodeProblem,
  parseNodeStatus,
  parsePromise,
  parseTagAnswer,
  unpackVersionHeader,
  VERSION_HEADER,
} from '../wire/protocol.ts';
import type { BucketQuery, EntrySource, ReplicaAccess, ReplicaView, Route, Version } from './replica.ts';

/** Time limits of requests to one node, in milliseconds. */
export interface StorageTimeouts {
  /** Opening a connection. Default 1000. */
  readonly connectMs?: number;
  /** One request and its answer. Default 5000; an object's bytes add the time they take at 1 MiB/s. */
  readonly requestMs?: number;
}

/** Options of {@link HttpReplicas}. */
export interface HttpReplicasOptions {
  readonly token: string;
  readonly clock: Clock;
  readonly timeouts: Required<StorageTimeouts>;
  /** `host:port` of a node id. */
  readonly addressOf: (node: string) => string;
  /** The layout to hand to a node that is behind. */
  readonly currentLayout: () => Layout | undefined;
}

/** Connections to one node: enough that a slow write does not hold up the next. */
const CONNECTIONS_PER_NODE = 32;
const BYTES_PER_MS = 1048;

interface Call {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array | string;
  readonly timeoutMs?: number;
}

interface Answer {
  readonly status: number;
  readonly version: string | undefined;
  readonly bytes: Buffer;
}

/** All requests to the nodes of one cluster. */
export class HttpReplicas implements ReplicaAccess, EntrySource {
  readonly #options: HttpReplicasOptions;
  readonly #agent: Agent;

  constructor(options: HttpReplicasOptions) {
    this.#options = options;
    this.#agent = new Agent({
      connections: CONNECTIONS_PER_NODE,
      connect: { timeout: options.timeouts.connectMs },
      keepAliveTimeout: 10_000,
    });
  }

  address(node: string): string {
    return this.#options.addressOf(node);
  }

  async inspect(node: string, route: Route): Promise<ReplicaView> {
    const answer = await this.#underLayout(node, route.layoutVersion, {
      method: 'GET',
      path: `/objects/${route.id}/entry`,
    });
    const [entry] = parseEntries(json(answer));
    if (entry === undefined) return { tag: ZERO_TAG, corrupt: false };
    const { tag, corrupt, header } = entry;
    return { tag, corrupt, ...(header === undefined ? {} : { header }) };
  }

  async read(node: string, route: Route): Promise<ReplicaView> {
    let answer: Answer;
    try {
      answer = await this.#underLayout(node, route.layoutVersion, {
        method: 'GET',
        path: `/objects/${route.id}`,
      });
    } catch (error) {
      // Its tag is a full answer to "what is the latest"; only its bytes are not.
      const tag =
        error instanceof StorageError && error.code === 'DATA_CORRUPT' ? error.details.tag : undefined;
      if (typeof tag === 'string') return { tag, corrupt: true };
      throw error;
    }
    if (answer.status === 204) return { tag: ZERO_TAG, corrupt: false };
    const header = unpackVersionHeader(answer.version ?? '');
    const sound =
      objectId(header.bucket, header.key) === route.id &&
      answer.bytes.length === header.sizeBytes &&
      sha256Hex(answer.bytes) === header.sha256;
    return sound
      ? { tag: header.tag, header, body: answer.bytes, corrupt: false }
      : { tag: header.tag, header, corrupt: true };
  }

  async write(node: string, route: Route, version: Version): Promise<Tag> {
    const answer = await this.#underLayout(node, route.layoutVersion, {
      method: 'PUT',
      path: `/objects/${route.id}`,
      headers: { [VERSION_HEADER]: packVersionHeader(version.header) },
      body: version.body,
    });
    return parseTagAnswer(json(answer));
  }

  async partitionPage(
    node: string,
    layoutVersion: number,
    partition: number,
    after: string,
  ): Promise<ObjectEntry[]> {
    const path = `/partitions/${partition}?after=${after}`;
    return parseEntries(json(await this.#underLayout(node, layoutVersion, { method: 'GET', path })));
  }

  async bucketPage(node: string, layoutVersion: number, query: BucketQuery): Promise<ObjectEntry[]> {
    const { bucket, prefix, after, limit } = query;
    const search = new URLSearchParams({ prefix, after, limit: String(limit) });
    const path = `/buckets/${encodeURIComponent(bucket)}?${search}`;
    return parseEntries(json(await this.#underLayout(node, layoutVersion, { method: 'GET', path })));
  }

  async drop(node: string, layoutVersion: number, id: ObjectId, upTo: Tag): Promise<void> {
    await this.#underLayout(node, layoutVersion, { method: 'DELETE', path: `/objects/${id}?upTo=${upTo}` });
  }

  async status(address: string): Promise<NodeStatus> {
    return parseNodeStatus(json(await this.#call(address, { method: 'GET', path: '/status' })));
  }

  async scrub(address: string, timeoutMs: number): Promise<void> {
    await this.#call(address, { method: 'POST', path: '/scrub', timeoutMs });
  }

  async layout(address: string): Promise<Layout | undefined> {
    return parseMaybeLayout(json(await this.#call(address, { method: 'GET', path: '/layout' })));
  }

  async putLayout(address: string, layout: Layout): Promise<void> {
    await this.#call(address, { method: 'PUT', path: '/layout', body: JSON.stringify(layout) });
  }

  async prepareLayout(address: string, version: number, ballot: string): Promise<AcceptedLayout | undefined> {
    const body = JSON.stringify({ version, ballot });
    return parsePromise(json(await this.#call(address, { method: 'POST', path: '/layout/prepare', body })));
  }

  async acceptLayout(address: string, proposal: AcceptedLayout): Promise<void> {
    await this.#call(address, { method: 'POST', path: '/layout/accept', body: JSON.stringify(proposal) });
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  // A node that has slept through a change of the layout is told, once, and asked again.
  async #underLayout(node: string, layoutVersion: number, call: Call): Promise<Answer> {
    const address = this.#options.addressOf(node);
    const versioned = { ...call, headers: { ...call.headers, [LAYOUT_HEADER]: String(layoutVersion) } };
    try {
      return await this.#call(address, versioned);
    } catch (error) {
      const layout = this.#options.currentLayout();
      const behind = error instanceof StorageError && error.code === 'NODE_BEHIND';
      if (!behind || layout === undefined || layout.version !== layoutVersion) throw error;
      await this.putLayout(address, layout);
      return await this.#call(address, versioned);
    }
  }

  async #call(address: string, call: Call): Promise<Answer> {
    const { clock, timeouts } = this.#options;
    const bodyMs = (call.body?.length ?? 0) / BYTES_PER_MS;
    const limitMs = call.timeoutMs ?? timeouts.requestMs + bodyMs;
    const deadline = new AbortController();
    const late = new StorageError('NODE_UNREACHABLE', `no answer within ${Math.round(limitMs)} ms`, {
      details: { timedOut: true },
    });
    const timer = clock.timer(limitMs, () => deadline.abort(late), { unref: true });
    try {
      const response = await request(`http://${address}${call.path}`, {
        dispatcher: this.#agent,
        method: call.method,
        headers: { ...call.headers, authorization: `Bearer ${this.#options.token}` },
        body: call.body ?? null,
        signal: deadline.signal,
      });
      const bytes = Buffer.from(await response.body.arrayBuffer());
      if (response.statusCode >= 300) throw problemError(response.statusCode, bytes);
      return { status: response.statusCode, version: one(response.headers[VERSION_HEADER]), bytes };
    } catch (error) {
      throw networkError(deadline.signal.aborted ? late : error);
    } finally {
      timer.cancel();
    }
  }
}

function one(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

function json(answer: Answer): unknown {
  return JSON.parse(answer.bytes.toString('utf8'));
}

const KNOWN_CODES = [
  'INSUFFICIENT_SPACE',
  'DATA_CORRUPT',
  'UNAUTHENTICATED',
  'BUSY',
  'CHECKSUM_MISMATCH',
  'CLOCK_SKEW',
  'STALE_LAYOUT',
  'NODE_BEHIND',
  'LAYOUT_CONFLICT',
  'OBJECT_TOO_LARGE',
  'INVALID_ARGUMENT',
] as const;

function problemError(status: number, bytes: Buffer): HeptadError {
  try {
    const { code, message, hint, retryable, details } = parseNodeProblem(JSON.parse(bytes.toString('utf8')));
    const options = { ...(hint === undefined ? {} : { hint }), retryable, details };
    const known = KNOWN_CODES.find((candidate) => candidate === code);
    return known === undefined
      ? new HeptadError(code, message, options)
      : new StorageError(known, message, options);
  } catch {
    return new HeptadError('NODE_FAILED', `status ${status} with a body that is no problem report`);
  }
}

// Only a connection that never came to be proves that the node did not see the request.
const NEVER_SENT = ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'UND_ERR_CONNECT_TIMEOUT'];

function networkError(error: unknown): unknown {
  if (error instanceof HeptadError) {
    const late = error.code === 'NODE_UNREACHABLE';
    return late ? new HeptadError('NODE_TIMEOUT', error.message, { cause: error }) : error;
  }
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
  const text = errorMessage(error) || code;
  return NEVER_SENT.includes(code)
    ? new StorageError('NODE_UNREACHABLE', text, { cause: error })
    : new HeptadError('NODE_CONNECTION_LOST', text, { cause: error });
}
