// The runtime layer of a Node.js image: this machine's Node binary with all it needs, made once and shared.

import { stat } from 'node:fs/promises';
import { posix } from 'node:path';
import { ContainerError, errnoOf } from '../errors.ts';
import type { ImageStore } from '../image/image-store.ts';
import { type LayerEntry, type LayerWriting, writeLayer } from '../image/layer-writer.ts';
import type { Lease } from '../image/leases.ts';
import { type CachedLayer, layerFromCache } from './layer-cache.ts';
import { sharedLibraries } from './shared-libraries.ts';

/** What goes into the layer. */
export interface RuntimeLayerRequest {
  readonly nodeBinary: string;
  /** Further programs, with their libraries. */
  readonly tools: readonly string[];
  readonly writing: LayerWriting & { readonly lease: Pick<Lease, 'add'> };
  /** Called when the layer is not there from an earlier build. */
  readonly onStart: () => void;
}

/** The layer, and what of this machine is in it. */
export interface RuntimeLayer extends CachedLayer {
  /** Paths of the programs and libraries on this machine, and in the image. */
  readonly files: readonly { readonly source: string; readonly path: string }[];
}

const CA_BUNDLE = '/etc/ssl/certs/ca-certificates.crt';
/** Where the image's Node is. */
export const NODE_PATH = '/usr/local/bin/node';

/** The runtime layer, taken from an earlier build when binary and libraries are the same files. */
export async function runtimeLayer(images: ImageStore, request: RuntimeLayerRequest): Promise<RuntimeLayer> {
  const entries = await runtimeEntries(request.nodeBinary, request.tools);
  const layer = await layerFromCache(images, entries, request.writing.lease, async () => {
    request.onStart();
    const ref = `build-runtime-${images.random.uuid(images.clock.now())}`;
    return await writeLayer(images.content, ref, entries, request.writing);
  });
  const files = entries.flatMap((entry) =>
    entry.type === 'copy' ? [{ source: entry.source, path: `/${entry.path}` }] : [],
  );
  return { ...layer, files };
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
    await copyEntry(node, NODE_PATH.slice(1)),
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
