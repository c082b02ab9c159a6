// A small image with a shell, made from Debian's static busybox, as `docker save` would write it.

import { createHash } from 'node:crypto';
import { createWriteStream, existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import tar, { type Header, type Pack } from 'tar-stream';

const BUSYBOX = '/bin/busybox';
const APPLETS =
  'cat chmod dd echo env false find grep head hostname httpd id kill ln ls mkdir nc printf ps rm sed seq sh sleep sort stat stty sync tail tar top touch tr true tty wc wget yes';

/** Why there is no such image; undefined when there is. With CI=true a missing busybox is a failure. */
export const noBusybox: string | undefined = whyNot();

function whyNot(): string | undefined {
  if (existsSync(BUSYBOX)) return undefined;
  const why = 'busybox is not installed (Debian: apt-get install busybox-static)';
  if (process.env.CI === 'true') throw new Error(why);
  return why;
}

async function bytesOf(pack: Pack): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of pack) if (chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function layer(): Promise<Buffer> {
  const pack = tar.pack();
  const mtime = new Date(0);
  const entry = (header: Partial<Header> & { name: string }, content: string | Buffer = ''): void => {
    pack.entry({ mode: 0o755, mtime, uid: 0, gid: 0, ...header }, content);
  };
  for (const name of ['bin', 'etc', 'root', 'tmp', 'var']) {
    entry({ name, type: 'directory', mode: name === 'tmp' ? 0o1777 : 0o755 });
  }
  entry({ name: 'bin/busybox' }, await readFile(BUSYBOX));
  for (const applet of APPLETS.split(' '))
    entry({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox' });
  entry({ name: 'etc/passwd', mode: 0o644 }, 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n');
  entry({ name: 'etc/group', mode: 0o644 }, 'root:x:0:\nuser:x:1000:\n');
  pack.finalize();
  return await bytesOf(pack);
}

/** Writes the archive of an image `name` to `path`. `more` goes into its configuration. */
export async function writeBusyboxArchive(path: string, name: string, more: object = {}): Promise<void> {
  const content = await layer();
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      created: '2024-01-02T03:04:05Z',
      config: { Env: ['PATH=/bin', 'FROM_IMAGE=yes'], Cmd: ['sh'], Labels: { maker: 'test' }, ...more },
      rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(content)}`] },
      history: [{ created: '2024-01-02T03:04:05Z', created_by: 'busybox-static' }],
    }),
  );
  const pack = tar.pack();
  const configName = `${sha256(config)}.json`;
  pack.entry({ name: configName }, config);
  pack.entry({ name: 'layer.tar' }, content);
  const manifest = [{ Config: configName, RepoTags: [name], Layers: ['layer.tar'] }];
  pack.entry({ name: 'manifest.json' }, JSON.stringify(manifest));
  pack.finalize();
  // tar-stream's own stream, not Node's; both are iterable.
  await pipeline(pack as AsyncIterable<Uint8Array>, createWriteStream(path));
}
