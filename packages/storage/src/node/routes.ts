// What a storage node answers to each request.

import type { Clock } from '@heptad/core';
import { StorageError } from '../errors.ts';
import { MAX_OBJECT_BYTES, MAX_PAGE_ENTRIES, MAX_TAG_AHEAD_MS } from '../limits.ts';
import { isTag, tagTimeMs, ZERO_TAG } from '../model/tag.ts';
import { objectId, sha256Hex } from '../model/version.ts';
import { PARTITION_COUNT, partitionOf } from '../placement/assign.ts';
import {
  holdsPartition,
  type Layout,
  parseLayout,
  partitionNodes,
  partitionsJoined,
} from '../placement/layout.ts';
import {
  LAYOUT_HEADER,
  type NodeStatus,
  type ObjectEntry,
  packVersionHeader,
  parseAccept,
  parsePrepare,
  unpackVersionHeader,
  VERSION_HEADER,
} from '../wire/protocol.ts';
import type { NodeRequest, NodeResponse, NodeRoutes } from './http-server.ts';
import type { IndexEntry } from './index-of-objects.ts';
import { type LayoutKeeper, nodeBehind, staleLayout } from './layout-keeper.ts';
import type { ObjectDirectory } from './object-directory.ts';

/** What the routes work on. */
export interface RouteContext {
  readonly id: string;
  readonly clock: Clock;
  readonly objects: ObjectDirectory;
  readonly layout: LayoutKeeper;
  status(): NodeStatus;
  /** Verifies everything now; resolves when done. */
  scrub(): Promise<NodeStatus['scrub']>;
  /** Called after a new layout was learnt. */
  layoutLearnt(): void;
}

/** The routes of a node. */
export function nodeRoutes(context: RouteContext): NodeRoutes {
  return async (request) => {
    const [area, name, last] = request.path;
    if (area === 'layout') return await layoutRoute(context, request);
    if (area === 'status' && request.method === 'GET') return { status: 200, json: context.status() };
    if (area === 'scrub' && request.method === 'POST') return { status: 200, json: await context.scrub() };
    if (area === 'objects' && name !== undefined)
      return await objectRoute(context, request, checkId(name), last);
    if (area === 'partitions' && name !== undefined) return partitionRoute(context, request, Number(name));
    if (area === 'buckets' && name !== undefined) return bucketRoute(context, request, name);
    return undefined;
  };
}

async function layoutRoute(context: RouteContext, request: NodeRequest): Promise<NodeResponse | undefined> {
  const { layout } = context;
  const step = `${request.method} ${request.path[1] ?? ''}`;
  if (step === 'GET ') return { status: 200, json: { layout: layout.chosen } };
  if (step === 'PUT ') {
    await learnLayout(context, parseLayout(await request.json()));
    context.layoutLearnt();
    return { status: 200, json: {} };
  }
  if (step === 'POST prepare') {
    const { version, ballot } = parsePrepare(await request.json());
    return { status: 200, json: { accepted: await layout.prepare(version, ballot) } };
  }
  if (step === 'POST accept') {
    const { ballot, layout: proposed } = parseAccept(await request.json());
    await layout.accept(ballot, proposed);
    return { status: 200, json: {} };
  }
  return undefined;
}

// What this node has of partitions it comes to hold anew goes before it answers for them; see Layout.since.
async function learnLayout(context: RouteContext, next: Layout): Promise<void> {
  const known = context.layout.chosen;
  if (known !== undefined && next.version > known.version) {
    for (const partition of partitionsJoined(next, known, context.id)) await context.objects.purge(partition);
  }
  await context.layout.learn(next);
}

async function objectRoute(
  context: RouteContext,
  request: NodeRequest,
  id: string,
  part: string | undefined,
): Promise<NodeResponse | undefined> {
  checkLayout(context, request);
  if (request.method === 'PUT' && part === undefined) return await putObject(context, request, id);
  if (request.method === 'GET' && part === undefined) return await getObject(context, id);
  if (request.method === 'GET' && part === 'entry') {
    const entry = context.objects.entry(id);
    return { status: 200, json: { entries: entry === undefined ? [] : [wireEntry(entry)] } };
  }
  if (request.method === 'DELETE' && part === undefined) {
    const upTo = request.query.get('upTo') ?? ZERO_TAG;
    if (!isTag(upTo)) throw new StorageError('INVALID_ARGUMENT', `"${upTo}" is no tag`);
    await context.objects.drop(id, upTo);
    return { status: 200, json: {} };
  }
  return undefined;
}

async function putObject(context: RouteContext, request: NodeRequest, id: string): Promise<NodeResponse> {
  const header = unpackVersionHeader(String(request.headers[VERSION_HEADER] ?? ''));
  if (objectId(header.bucket, header.key) !== id) {
    throw new StorageError('INVALID_ARGUMENT', `${header.bucket}/${header.key} is not the object ${id}`);
  }
  const aheadMs = tagTimeMs(header.tag) - context.clock.now();
  if (aheadMs > MAX_TAG_AHEAD_MS) {
    throw new StorageError('CLOCK_SKEW', `the writer's clock runs ${aheadMs} ms ahead of this node's`, {
      hint: 'set the clocks of both machines',
    });
  }
  const body = await request.body(MAX_OBJECT_BYTES);
  if (body.length !== header.sizeBytes || sha256Hex(body) !== header.sha256) {
    throw new StorageError(
      'CHECKSUM_MISMATCH',
      `the bytes of ${header.bucket}/${header.key} changed on the way`,
      {
        retryable: true,
      },
    );
  }
  // The layout may have moved on while the body came in; an acknowledgement counts under the version it was given for.
  checkLayout(context, request);
  const tag = await context.objects.write(header, body);
  checkLayout(context, request);
  return { status: 200, json: { tag } };
}

async function getObject(context: RouteContext, id: string): Promise<NodeResponse> {
  const found = await context.objects.read(id);
  if (found.state === 'none') return { status: 204 };
  if (found.state === 'corrupt') {
    throw new StorageError('DATA_CORRUPT', found.reason, { details: { tag: found.tag } });
  }
  return {
    status: 200,
    body: found.body,
    headers: { [VERSION_HEADER]: packVersionHeader(found.header) },
  };
}

function partitionRoute(
  context: RouteContext,
  request: NodeRequest,
  partition: number,
): NodeResponse | undefined {
  if (request.method !== 'GET') return undefined;
  checkLayout(context, request);
  if (!Number.isInteger(partition) || partition < 0 || partition >= PARTITION_COUNT) {
    throw new StorageError('INVALID_ARGUMENT', `there is no partition ${partition}`);
  }
  const page = context.objects.partitionPage(partition, request.query.get('after') ?? '', pageLimit(request));
  return { status: 200, json: { entries: page.map(wireEntry) } };
}

function bucketRoute(context: RouteContext, request: NodeRequest, bucket: string): NodeResponse | undefined {
  if (request.method !== 'GET') return undefined;
  checkLayout(context, request);
  const prefix = request.query.get('prefix') ?? '';
  const page = context.objects.bucketPage(
    bucket,
    prefix,
    request.query.get('after') ?? '',
    pageLimit(request),
  );
  return { status: 200, json: { entries: page.map(wireEntry) } };
}

/** Refuses a request under another layout than ours: see placement/layout.ts for what depends on it. */
function checkLayout(context: RouteContext, request: NodeRequest): void {
  const theirs = Number(request.headers[LAYOUT_HEADER] ?? 0);
  const ours = context.layout.version;
  if (theirs < ours) throw staleLayout(theirs, ours);
  if (theirs > ours) throw nodeBehind(theirs, ours);
}

/** Removes what this node no longer has to keep; safe because nobody reads it under the layout this node goes by. */
export async function dropForeignObjects(context: RouteContext, signal: AbortSignal): Promise<number> {
  const layout = context.layout.chosen;
  if (layout === undefined) return 0;
  const foreign = new Set(
    Array.from({ length: PARTITION_COUNT }, (_, partition) => partition).filter(
      (partition) =>
        partitionNodes(layout, partition).length > 0 && !holdsPartition(layout, context.id, partition),
    ),
  );
  let dropped = 0;
  for (const entry of [...context.objects.entries()]) {
    if (!foreign.has(partitionOf(entry.id))) continue;
    if (signal.aborted || context.layout.version !== layout.version) return dropped;
    await context.objects.drop(entry.id, entry.tag);
    dropped += 1;
  }
  return dropped;
}

function wireEntry(entry: IndexEntry): ObjectEntry {
  const { id, tag, corrupt, header } = entry;
  return { id, tag, corrupt, ...(header === undefined ? {} : { header }) };
}

function pageLimit(request: NodeRequest): number {
  const limit = Number(request.query.get('limit') ?? MAX_PAGE_ENTRIES);
  return Number.isInteger(limit) ? Math.min(Math.max(limit, 1), MAX_PAGE_ENTRIES) : MAX_PAGE_ENTRIES;
}

function checkId(id: string): string {
  if (/^[0-9a-f]{64}$/.test(id)) return id;
  throw new StorageError('INVALID_ARGUMENT', `"${id}" is no object id`);
}
