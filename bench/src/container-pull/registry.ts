// Debian's docker-registry on a port of this machine, with the image put there by skopeo: no side's own tools.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip, createZstdCompress } from 'node:zlib';
import { writeLayerDirectories } from './image.ts';

const execute = promisify(execFile);
const REPOSITORY = 'bench/app';

/** A running registry with the image. */
export interface BenchRegistry extends AsyncDisposable {
  /** `127.0.0.1:port/bench/app:gzip`, `...:zstd`. */
  readonly image: (compression: Compression) => string;
  /** Bytes of the compressed layers. */
  readonly compressedBytes: Readonly<Record<Compression, number>>;
}

/** How the layers are compressed. */
export type Compression = 'gzip' | 'zstd';

/** Starts the registry in `home` and fills it. */
export async function startRegistry(home: string, say: (message: string) => void): Promise<BenchRegistry> {
  const port = await freePort();
  const config = join(home, 'registry.yml');
  await writeFile(
    config,
    `version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: ${home}/registry}}\nhttp: {addr: "127.0.0.1:${port}"}\n`,
  );
  const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  await untilListening(port, child);
  say('making the image');
  const files = join(home, 'files');
  const layers = await writeLayerDirectories(files);
  const compressedBytes = { gzip: 0, zstd: 0 };
  for (const compression of ['gzip', 'zstd'] as const) {
    const layout = join(home, `layout-${compression}`);
    compressedBytes[compression] = await writeLayout(layout, layers, compression);
    const target = `docker://127.0.0.1:${port}/${REPOSITORY}:${compression}`;
    await execute('skopeo', ['copy', '--dest-tls-verify=false', `oci:${layout}:image`, target]);
    await rm(layout, { recursive: true });
  }
  await rm(files, { recursive: true });
  return {
    image: (compression) => `127.0.0.1:${port}/${REPOSITORY}:${compression}`,
    compressedBytes,
    async [Symbol.asyncDispose]() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
    },
  };
}

interface Blob {
  readonly digest: string;
  readonly size: number;
}

/** An OCI layout of the layers, as tar and gzip -6 (or zstd) make them; returns the bytes of the layers. */
async function writeLayout(
  layout: string,
  directories: readonly string[],
  compression: Compression,
): Promise<number> {
  const blobs = join(layout, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  const put = async (value: unknown): Promise<Blob> => {
    const bytes = Buffer.from(JSON.stringify(value));
    const hex = createHash('sha256').update(bytes).digest('hex');
    await writeFile(join(blobs, hex), bytes);
    return { digest: `sha256:${hex}`, size: bytes.length };
  };
  const layers: (Blob & { mediaType: string })[] = [];
  const diffIds: string[] = [];
  for (const directory of directories) {
    const { diffId, ...blob } = await writeLayer(directory, blobs, compression);
    layers.push({ mediaType: `application/vnd.oci.image.layer.v1.tar+${compression}`, ...blob });
    diffIds.push(diffId);
  }
  const config = await put({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { Cmd: ['/app'] },
    rootfs: { type: 'layers', diff_ids: diffIds },
  });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = await put({
    schemaVersion: 2,
    mediaType,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers,
  });
  const annotations = { 'org.opencontainers.image.ref.name': 'image' };
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(
    join(layout, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType, ...manifest, annotations }] }),
  );
  return layers.reduce((sum, { size }) => sum + size, 0);
}

async function writeLayer(
  directory: string,
  blobs: string,
  compression: Compression,
): Promise<Blob & { readonly diffId: string }> {
  const flags = ['--sort=name', '--owner=0', '--group=0', '--mtime=@0', '--format=gnu', '-C', directory];
  const tar = spawn('tar', [...flags, '-cf', '-', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const plain = createHash('sha256');
  const compressed = createHash('sha256');
  const temporary = join(blobs, 'temporary');
  await pipeline(
    tar.stdout,
    hashing(plain),
    compression === 'gzip' ? createGzip({ level: 6 }) : createZstdCompress(),
    hashing(compressed),
    createWriteStream(temporary),
  );
  const hex = compressed.digest('hex');
  await execute('mv', [temporary, join(blobs, hex)]);
  const { size } = await stat(join(blobs, hex));
  return { digest: `sha256:${hex}`, size, diffId: `sha256:${plain.digest('hex')}` };
}

function hashing(hash: ReturnType<typeof createHash>): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}`);
    const answer = await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined);
    if (answer?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('docker-registry did not answer within 10 s');
}
