// Layers made before: known by the files they were made of, so that what did not change is not packed again.

import { readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type Digest, digestOf } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import type { LayerEntry, WrittenLayer } from '../image/layer-writer.ts';
import type { Lease } from '../image/leases.ts';
import { ensureDirectory, readJson, writeJsonAtomic } from '../system/files.ts';

/** A layer and whether it was there already. */
export interface CachedLayer extends WrittenLayer {
  readonly cached: boolean;
}

/** Each entry is some 300 bytes; older ones than these belong to applications long gone. */
const MAX_ENTRIES = 512;
/** Changes of a file within one tick of the kernel's clock (at most 10 ms) leave its times alike; this is far above. */
const RACY_MS = 500;
const PARALLEL_STATS = 64;

const schema = z.object({
  descriptor: z.object({ mediaType: z.string(), digest: z.string(), size: z.number() }),
  diffId: z.string(),
});

/**
 * The layer of `entries`, from an earlier build when every file is the same one (by inode, size and times, as `make`
 * and git judge) and its content is still in the store; else made by `make`. The lease keeps what is found.
 */
export async function layerFromCache(
  images: ImageStore,
  entries: readonly LayerEntry[],
  lease: Pick<Lease, 'add'>,
  make: () => Promise<WrittenLayer>,
): Promise<CachedLayer> {
  const cache = join(images.home, 'build-cache');
  await ensureDirectory(cache);
  const before = await fingerprint(entries);
  const path = join(cache, `${before.digest.slice('sha256:'.length)}.json`);
  // A damaged entry is as good as none: it is replaced below.
  const known = schema.safeParse(await readJson(path).catch(() => undefined));
  // Kept before it is looked for: what is there then stays.
  if (known.success) await lease.add({ kind: 'content', id: known.data.descriptor.digest });
  if (
    known.success &&
    (await images.content.touch(known.data.descriptor.digest, images.clock.now())) !== undefined
  )
    return { ...known.data, cached: true };
  const layer = await make();
  // What changed while it was packed, or so lately that a second change would not show, must not be taken for known.
  const after = await fingerprint(entries);
  const isSettled = after.digest === before.digest && before.newestMs < images.clock.now() - RACY_MS;
  if (isSettled) {
    await writeJsonAtomic(path, { descriptor: layer.descriptor, diffId: layer.diffId });
    await forgetOldest(cache);
  }
  return { ...layer, cached: false };
}

/** Stands for the entries' content without reading it: a Node binary alone has 120 MB. */
async function fingerprint(entries: readonly LayerEntry[]): Promise<{ digest: Digest; newestMs: number }> {
  const facts: unknown[] = [];
  let newestMs = 0;
  for (let from = 0; from < entries.length; from += PARALLEL_STATS) {
    const batch = entries.slice(from, from + PARALLEL_STATS).map(async (entry) => {
      if (entry.type !== 'copy') return entry;
      const info = await stat(entry.source);
      newestMs = Math.max(newestMs, info.ctimeMs);
      return [entry, info.size, info.mtimeMs, info.ctimeMs, info.ino, info.dev];
    });
    facts.push(...(await Promise.all(batch)));
  }
  return { digest: digestOf(JSON.stringify(['v2', facts])), newestMs };
}

async function forgetOldest(cache: string): Promise<void> {
  const names = (await readdir(cache)).filter((name) => name.endsWith('.json'));
  if (names.length <= MAX_ENTRIES) return;
  const aged = await Promise.all(
    names.map(async (name) => ({
      name,
      at: (await stat(join(cache, name)).catch(() => undefined))?.mtimeMs ?? 0,
    })),
  );
  aged.sort((one, other) => one.at - other.at);
  // Another build may have removed it meanwhile.
  for (const { name } of aged.slice(0, names.length - MAX_ENTRIES))
    await unlink(join(cache, name)).catch(() => undefined);
}
