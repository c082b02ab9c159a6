// Listing a bucket: sorted pages of all nodes, merged; the latest version of each key counts.

import { isHeptadError, type ObjectInfo } from '@heptad/core';
import { quorumError, type ReplicaAnswer, replicaAnswer } from '../errors.ts';
import { MAX_LAYOUT_RETRIES, MAX_PAGE_ENTRIES } from '../limits.ts';
import { compareKeys, objectInfo, type VersionHeader } from '../model/version.ts';
import { PARTITION_COUNT } from '../placement/assign.ts';
import { type Layout, quorumSets } from '../placement/layout.ts';
import type { HttpReplicas } from './http-replica.ts';

/** What to list. */
export interface ListingOptions {
  readonly layout: () => Promise<Layout>;
  readonly refresh: () => Promise<Layout>;
  readonly replicas: HttpReplicas;
  readonly bucket: string;
  readonly prefix?: string;
  readonly after?: string;
  readonly limit?: number;
  readonly signal?: AbortSignal;
}

/** Yields the bucket's objects in key order. Restarts a page under the newer layout when the layout changes. */
export async function* listBucket(options: ListingOptions): AsyncIterable<ObjectInfo> {
  let after = options.after ?? '';
  let left = options.limit ?? Number.POSITIVE_INFINITY;
  while (left > 0) {
    options.signal?.throwIfAborted();
    const { headers, complete, through } = await nextPage(options, after);
    for (const header of headers) {
      if (header.deleted) continue;
      yield objectInfo(header);
      left -= 1;
      if (left <= 0) return;
    }
    if (complete) return;
    after = through;
  }
}

interface Page {
  readonly headers: readonly VersionHeader[];
  /** Whether the bucket has no more. */
  readonly complete: boolean;
  /** The last key the page covers. */
  readonly through: string;
}

async function nextPage(options: ListingOptions, after: string): Promise<Page> {
  let layout = await options.layout();
  for (let attempt = 1; ; attempt += 1) {
    const answers = await askAll(options, layout, after);
    if (!answers.stale || attempt >= MAX_LAYOUT_RETRIES) {
      checkCovered(layout, answers, options);
      return merge(answers.pages);
    }
    layout = await options.refresh();
  }
}

interface Answers {
  readonly pages: ReadonlyMap<string, readonly VersionHeader[]>;
  readonly failed: readonly ReplicaAnswer[];
  readonly stale: boolean;
}

async function askAll(options: ListingOptions, layout: Layout, after: string): Promise<Answers> {
  const { replicas, bucket, prefix = '' } = options;
  const pages = new Map<string, readonly VersionHeader[]>();
  const failed: ReplicaAnswer[] = [];
  let stale = false;
  await Promise.all(
    layout.nodes.map(async ({ id }) => {
      try {
        const query = { bucket, prefix, after, limit: MAX_PAGE_ENTRIES };
        const entries = await replicas.bucketPage(id, layout.version, query);
        pages.set(
          id,
          entries.flatMap((entry) => entry.header ?? []),
        );
      } catch (error) {
        if (isHeptadError(error, 'STALE_LAYOUT')) stale = true;
        failed.push(replicaAnswer(id, replicas.address(id), error));
      }
    }),
  );
  return { pages, failed, stale };
}

// An acknowledged write is on a quorum of its partition's nodes, so a quorum of answers has it at least once.
function checkCovered(layout: Layout, answers: Answers, options: ListingOptions): void {
  for (let partition = 0; partition < PARTITION_COUNT; partition += 1) {
    for (const set of quorumSets(layout, partition)) {
      const answered = set.nodes.filter((node) => answers.pages.has(node));
      if (answered.length >= set.quorum) continue;
      throw quorumError({
        code: 'READ_FAILED',
        doing: `list bucket "${options.bucket}"`,
        needed: set.quorum,
        asked: set.nodes.length,
        succeeded: answered,
        failed: answers.failed,
        outcome: 'failed',
      });
    }
  }
}

function merge(pages: ReadonlyMap<string, readonly VersionHeader[]>): Page {
  // Beyond the last key of a full page its node may have keys we have not seen: the merge ends at the first such end.
  let through: string | undefined;
  for (const page of pages.values()) {
    const last = page.at(-1)?.key;
    if (page.length < MAX_PAGE_ENTRIES || last === undefined) continue;
    if (through === undefined || compareKeys(last, through) < 0) through = last;
  }
  const latest = new Map<string, VersionHeader>();
  for (const header of [...pages.values()].flat()) {
    if (through !== undefined && compareKeys(header.key, through) > 0) continue;
    const known = latest.get(header.key);
    if (known === undefined || known.tag < header.tag) latest.set(header.key, header);
  }
  const headers = [...latest.values()].sort((a, b) => compareKeys(a.key, b.key));
  return { headers, complete: through === undefined, through: through ?? '' };
}
