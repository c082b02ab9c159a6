// The runtime layer of a Node.js image: this machine's Node binary with all it needs, made once and shared.

import { stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { z } from 'zod';
import { ContainerError, errnoOf } from '../errors.ts';
import { ensureDirectory, readJson, writeJsonAtomic } from '../system/files.ts';
import { type Digest, digestOf } from './digest.ts';
import type { ImageStore } from './image-store.ts';
import { type LayerEntry, type LayerWriting, type WrittenLayer, writeLayer } from './layer-writer.ts';
import { sharedLibraries } from './shared-libraries.ts';

/** What goes into the layer. */
export interface RuntimeLayerRequest {
  readonly nodeBinary: string;
  /** Further programs, with their libraries. */
  readonly tools: readonly string[];
  readonly writing: LayerWriting;
  /** Called when the layer is not there from an earlier build. */
  readonly onStart: () => void;
}

const CA_BUNDLE = '/etc/ssl/certs/ca-certificates.crt';

const cachedLayer = z.object({
  descriptor: z.object({ mediaType: z.string(), digest: z.string(), size: z.number() }),
  diffId: z.string(),
});

/** The runtime layer, taken from an earlier build when binary and libraries are the same files. */
export async function runtimeLayer(images: ImageStore, request: RuntimeLayerRequest): Promise<WrittenLayer> {
  const entries = await runtimeEntries(request.nodeBinary, request.tools);
  const cache = join(images.home, 'build-cache');
  await ensureDirectory(cache);
  const path = join(cache, `${(await fingerprint(entries)).slice('sha256:'.length)}.json`);
  const cached = cachedLayer.safeParse(await readJson(path).catch(() => undefined));
  if (cached.success && (await images.content.info(cached.data.descriptor.digest)) !== undefined) {
    await images.content.touch(cached.data.descriptor.digest, images.clock.now());
    return cached.data;
  }
  request.onStart();
  const ref = `build-runtime-${images.random.uuid(images.clock.now())}`;
  const layer = await writeLayer(images.content, ref, entries, request.writing);
  await writeJsonAtomic(path, layer);
  return layer;
}

async function runtimeEntries(node: string, tools: readonly string[]): Promise<LayerEntry[]> {
  const entries: LayerEntry[] = [
    ...['dev', 'proc', 'sys', 'run', 'var', 'var/log'].map((path) => ({
      type: 'directory' as const,
      path,
      mode: 0o755,
    })),
    ...['tmp', 'var/tmp'].map((path) => ({ type: 'directory' as const, path, mode: 0o1777 })),
    { type: 'directory', path: 'root', mode: 0o700 },
    { type: 'directory', path: 'home/node', mode: 0o755, uid: 1000, gid: 1000 },
    {
      type: 'file',
      path: 'etc/passwd',
      mode: 0o644,
      content:
        'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000:node:/home/node:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
    },
    { type: 'file', path: 'etc/group', mode: 0o644, content: 'root:x:0:\nnode:x:1000:\nnogroup:x:65534:\n' },
    {
      type: 'file',
      path: 'etc/nsswitch.conf',
      mode: 0o644,
      content: 'passwd: files\ngroup: files\nhosts: files dns\n',
    },
    await copyEntry(node, 'usr/local/bin/node'),
  ];
  const libraries = new Set(await sharedLibraries(node));
  for (const tool of tools) {
    entries.push(await copyEntry(tool, tool.slice(1)));
    for (const library of await sharedLibraries(tool)) libraries.add(library);
  }
  for (const library of libraries) entries.push(await copyEntry(library, library.slice(1)));
  const certificates = await copyEntry(CA_BUNDLE, CA_BUNDLE.slice(1)).catch(() => undefined);
  if (certificates !== undefined) entries.push(certificates);
  return entries;
}

async function copyEntry(source: string, path: string): Promise<Extract<LayerEntry, { type: 'copy' }>> {
  try {
    const info = await stat(source);
    return {
      type: 'copy',
      path: posix.normalize(path),
      mode: (info.mode & 0o100) === 0 ? 0o644 : 0o755,
      source,
      size: info.size,
    };
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw cause;
    throw new ContainerError('PATH_NOT_FOUND', `cannot build: ${source} is not on this machine`, { cause });
  }
}

/** Identifies the entries without reading the Node binary's 120 MB each time: size, time and inode stand for content. */
async function fingerprint(entries: readonly LayerEntry[]): Promise<Digest> {
  const facts = await Promise.all(
    entries.map(async (entry) => {
      if (entry.type !== 'copy') return entry;
      const info = await stat(entry.source);
      return [entry, info.mtimeMs, info.ctimeMs, info.ino, info.dev];
    }),
  );
  return digestOf(JSON.stringify(['v1', facts]));
}
