// User namespaces: root in the container is nobody on the host, files keep their ids on disk, and no two containers share ids.

import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildNodeImage, type Container, ContainerEngine } from '@heptad/container';
import type { ContainerSpec } from '@heptad/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { putJson } from '../src/image/documents.ts';
import { MEDIA_TYPE } from '../src/image/manifest.ts';
import type { TarHeader } from '../src/image/tar-header.ts';
import { TarReader } from '../src/image/tar-reader.ts';
import { endOfArchive, entryBlocks } from '../src/image/tar-writer.ts';
import { runOrThrow } from '../src/system/command.ts';
import { ATTEMPTS } from './containment/table.ts';
import { noContainers, temporaryDirectory } from './support.ts';

const number = process.pid % 200;
const network = { bridgeName: `hpu${number}`, subnet: `10.218.${number}.0/24` } as const;
// A pool of this test's own, with room for three.
const userIds = { firstId: 0x4000_0000 + number * 0x10_0000, count: 3 * 65_536 };
const IMAGE = 'heptad-test/user-namespaces:1';
let home: string;
let engine: ContainerEngine;
let names = 0;

const container = (source: string, more: Partial<ContainerSpec> = {}): ContainerSpec => ({
  name: `u${++names}`,
  image: IMAGE,
  entrypoint: ['node'],
  command: ['-e', source],
  user: '0',
  userNamespace: 'auto',
  network: 'none',
  ...more,
});
const IDLE = 'setInterval(() => {}, 1000); console.log("ready")';

async function output(started: Container): Promise<string[]> {
  await started.wait('not-running', AbortSignal.timeout(30_000));
  const lines: string[] = [];
  for await (const { text } of started.logs()) lines.push(text);
  await started.remove();
  return lines;
}

/** The host's ids of a process. */
async function owner(pid: number | undefined): Promise<number> {
  return (await stat(`/proc/${pid}`)).uid;
}

async function inside(started: Container, source: string): Promise<string> {
  const session = await started.exec({ command: ['node', '-e', source] });
  const chunks: Uint8Array[] = [];
  for await (const chunk of session.stdout) chunks.push(chunk);
  await session.exit;
  return Buffer.concat(chunks).toString().trim();
}

/** A directory with one empty thing of each kind. */
async function* archiveOf(directory: string, uid: number, gid: number): AsyncGenerator<Uint8Array> {
  const kinds = [
    ['directory', '5', ''],
    ['file', '0', '/file'],
    ['symlink', '2', '/symlink'],
    ['fifo', '6', '/fifo'],
  ] as const;
  for (const [type, flag, name] of kinds) {
    const header = { type, flag, name: `${directory}${name}`, linkName: type === 'symlink' ? 'file' : '' };
    const numbers = { size: 0, mode: 0o755, uid, gid, mtime: 1, devMajor: 0, devMinor: 0 };
    yield entryBlocks({ ...header, ...numbers, xattrs: new Map() });
  }
  yield endOfArchive();
}

async function entriesOf(archive: AsyncIterable<Uint8Array>): Promise<Map<string, TarHeader>> {
  const reader = new TarReader(archive, { maxEntries: 100_000 });
  const entries = new Map<string, TarHeader>();
  for (let header = await reader.next(); header !== undefined; header = await reader.next())
    entries.set(header.name.replace(/^\.\//, '').replace(/\/$/, ''), header);
  await reader.close();
  return entries;
}

async function ownersOf(archive: AsyncIterable<Uint8Array>, names: readonly string[]): Promise<string[]> {
  const entries = await entriesOf(archive);
  return names.map((name) => `${name} ${entries.get(name)?.uid}:${entries.get(name)?.gid}`);
}

/** What containers with user namespaces leave on the host. */
async function traces(): Promise<string[]> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .filter((line) => line.includes(home));
  const held = await Promise.all(
    (await readdir('/var/lib/heptad-ids').catch(() => [])).map(
      async (name) => [name, await readFile(`/var/lib/heptad-ids/${name}`, 'utf8').catch(() => '')] as const,
    ),
  );
  const known = await readdir(join(home, 'engine/oci/containers'));
  const roots = (await readdir('/run/heptad/roots').catch(() => [])).filter((name) => known.includes(name));
  return [...mounts, ...roots, ...held.flatMap(([name, path]) => (path.startsWith(home) ? [name] : []))];
}

describe.skipIf(noContainers !== undefined)('user namespaces', () => {
  beforeAll(async () => {
    home = await temporaryDirectory();
    const app = join(home, 'app');
    await mkdir(app);
    await writeFile(join(app, 'main.mjs'), '');
    const source = join(import.meta.dirname, 'containment/attempts.c');
    await runOrThrow('gcc', ['-static', '-O1', '-o', join(app, 'attempts'), source], { timeoutMs: 60_000 });
    engine = await ContainerEngine.open({ home: join(home, 'engine'), network, userIds });
    await buildNodeImage({
      images: engine.images,
      name: IMAGE,
      directory: app,
      main: 'main.mjs',
      tools: ['/bin/sh', '/bin/sleep'],
    });
  });

  afterAll(async () => {
    for (const { id } of await engine.runtime.list()) await engine.runtime.remove(id, { force: true });
    await engine.network?.removeBridge();
    const left = await traces();
    await engine.close();
    await rm(home, { recursive: true, force: true });
    expect(left).toEqual([]);
  });

  it('root in the container is an id of the pool on the host, another one for each container', async () => {
    const [one, other] = [await engine.run(container(IDLE)), await engine.run(container(IDLE))];
    const [first, second] = [
      await owner((await one.inspect()).pid),
      await owner((await other.inspect()).pid),
    ];
    for (const id of [first, second]) {
      expect(id).toBeGreaterThanOrEqual(userIds.firstId);
      expect(id).toBeLessThan(userIds.firstId + userIds.count);
      expect(id % 65_536).toBe(userIds.firstId % 65_536);
    }
    expect(first).not.toBe(second);
    expect(
      await inside(
        one,
        "console.log(process.getuid(), require('fs').statSync('/app').uid, require('fs').readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\\s+/).join())",
      ),
    ).toBe(`0 0 0,${first},65536`);
    const third = await engine.run(container(IDLE));
    await expect(engine.run(container(IDLE))).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
    await third.remove({ force: true });
    await (await engine.run(container(IDLE))).remove({ force: true });
    for (const each of [one, other]) await each.remove({ force: true });
  });

  it('files have the ids of the container on disk, so that restarting, and another user namespace, see the same', async () => {
    const script = `const fs = require('fs'); fs.writeFileSync('/data/root', 'x'); fs.writeFileSync('/data/user', 'x'); fs.chownSync('/data/user', 1000, 1000); fs.appendFileSync('/etc/passwd', '#\\n'); fs.rmSync('/app/main.mjs', { force: true }); ${IDLE}`;
    const one = await engine.run(
      container(script, { mounts: [{ type: 'volume', name: 'shared', target: '/data' }] }),
    );
    for await (const { text } of one.logs({ follow: true })) if (text === 'ready') break;
    const data = join(home, 'engine/volumes/shared/data');
    const upper = join(home, 'engine/oci/containers', one.id, 'upper');
    expect([(await stat(join(data, 'root'))).uid, (await stat(join(data, 'user'))).uid]).toEqual([0, 1000]);
    expect((await stat(join(upper, 'etc/passwd'))).uid).toBe(0);
    const other = await engine.run(
      container(
        "const fs = require('fs'); console.log(fs.statSync('/data/root').uid, fs.statSync('/data/user').uid); fs.writeFileSync('/data/root', 'y')",
        {
          mounts: [{ type: 'volume', name: 'shared', target: '/data' }],
        },
      ),
    );
    expect(await output(other)).toEqual(['0 1000']);
    await one.stop({ graceMs: 0 });
    await one.start();
    expect(
      await inside(
        one,
        "const fs = require('fs'); console.log(fs.statSync('/data/user').uid, fs.existsSync('/app/main.mjs'), fs.statSync('/etc/passwd').uid)",
      ),
    ).toBe('1000 false 0');
    await one.remove({ force: true });
  });

  it('a new volume takes over what the image has, with the owners that the container sees', async () => {
    const [line] = await output(
      await engine.run(
        container(
          "const fs = require('fs'); console.log(fs.readdirSync('/app').length > 0, fs.statSync('/app').uid, fs.statSync('/app/attempts').uid); fs.writeFileSync('/app/new', '')",
          {
            mounts: [{ type: 'volume', name: 'filled', target: '/app' }],
          },
        ),
      ),
    );
    expect(line).toBe('true 0 0');
  });

  it("volumes at the image's VOLUME paths have its files and ids, after a restart and from outside too", async () => {
    const { manifest, config } = await engine.images.inspect(IMAGE);
    const declares = { ...config, config: { ...config.config, Volumes: { '/app': {} } } };
    const written = await putJson(engine.images, declares, manifest.config.mediaType);
    const target = await putJson(engine.images, { ...manifest, config: written }, MEDIA_TYPE.manifest);
    await engine.images.setTag('heptad-test/user-namespaces:volumes', target);
    const script =
      "const fs = require('fs'); console.log(fs.statSync('/app/attempts').uid, fs.existsSync('/app/kept')); fs.writeFileSync('/app/kept', ''); fs.chownSync('/app/kept', 1000, 1000)";
    const one = await engine.run(container(script, { image: 'heptad-test/user-namespaces:volumes' }));
    await one.wait('not-running', AbortSignal.timeout(30_000));
    const statKept = async (): Promise<number> => (await engine.runtime.statPath(one.id, '/app/kept')).uid;
    expect(await statKept()).toBe(1000);
    await one.start();
    await one.wait('not-running', AbortSignal.timeout(30_000));
    const lines: string[] = [];
    for await (const { text } of one.logs()) lines.push(text);
    expect(lines).toEqual(['0 false', '0 true']);
    const volumes = await readdir(join(home, 'engine/volumes'));
    await one.remove({ volumes: true });
    expect((await readdir(join(home, 'engine/volumes'))).length).toBe(volumes.length - 1);
  });

  it('networks, published ports, secrets, limits and exec work as without', async () => {
    const server = await engine.run(
      container(
        `require('http').createServer((q, r) => r.end(require('fs').readFileSync('/run/s', 'utf8'))).listen(80, () => console.log('ready'))`,
        {
          network: 'bridge',
          user: '1000',
          secrets: [{ target: '/run/s', content: 'hush' }],
          limits: { memoryBytes: 128 << 20, pids: 50 },
          ports: [{ hostPort: 20_000 + (process.pid % 20_000), containerPort: 80 }],
        },
      ),
    );
    for await (const { text } of server.logs({ follow: true, signal: AbortSignal.timeout(20_000) }))
      if (text === 'ready') break;
    const answer = await fetch(`http://127.0.0.1:${20_000 + (process.pid % 20_000)}`);
    expect(await answer.text()).toBe('hush');
    expect((await server.stats()).memoryLimitBytes).toBe(128 << 20);
    expect(await inside(server, "console.log(require('os').userInfo().uid)")).toBe('1000');
    await server.remove({ force: true });
  });

  it('ranges chosen by hand are kept; those that isolate nothing, and shared networks, are refused', async () => {
    const ranges = [{ containerId: 0, hostId: userIds.firstId + 7_000_000, size: 1_000 }];
    const chosen = await engine.run(container(IDLE, { userNamespace: { uids: ranges, gids: ranges } }));
    expect(await owner((await chosen.inspect()).pid)).toBe(userIds.firstId + 7_000_000);
    await chosen.remove({ force: true });
    const onto = [{ containerId: 0, hostId: 0, size: 1_000 }];
    await expect(
      engine.run(container(IDLE, { userNamespace: { uids: onto, gids: onto } })),
    ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(engine.run(container(IDLE, { network: 'host' }))).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
    });
    await expect(
      engine.run(container(IDLE, { user: '2000', userNamespace: { uids: ranges, gids: ranges } })),
    ).rejects.toMatchObject({ code: expect.any(String) });
  });

  it('copies in and out, export, diff and commit have the ids of the container, running or stopped', async () => {
    const { runtime } = engine;
    const script = `const fs = require('fs'); fs.writeFileSync('/made', ''); fs.chownSync('/made', 1000, 1001); ${IDLE}`;
    const mounts = [
      { type: 'volume', name: 'copied', target: '/data' },
      { type: 'tmpfs', target: '/memory' },
    ] as const;
    const one = await engine.run(container(script, { mounts }));
    for await (const { text } of one.logs({ follow: true })) if (text === 'ready') break;
    const kinds = ['', '/file', '/symlink', '/fifo'];
    const seen = async (directory: string): Promise<string> =>
      await inside(
        one,
        `console.log(${JSON.stringify(kinds)}.map((kind) => { const { uid, gid } = require('fs').lstatSync('${directory}' + kind); return uid + ':' + gid }).join())`,
      );
    const all = (owner: string): string => kinds.map(() => owner).join();
    const put = async (at: string, ids: readonly number[], keepOwners = true): Promise<void> => {
      for (const id of ids)
        await runtime.copyIn(one.id, at, archiveOf(`as${id}`, id, id === 0 ? 0 : id + 1), { keepOwners });
    };
    const out = async (path: string, ...names: string[]): Promise<string[]> =>
      await ownersOf((await runtime.copyOut(one.id, path)).content, names);

    for (const at of ['/', '/data/', '/memory/']) {
      await put(at, [0, 1000]);
      expect([await seen(`${at}as0`), await seen(`${at}as1000`)]).toEqual([all('0:0'), all('1000:1001')]);
      expect(await out(`${at}as1000`, 'as1000/file', 'as1000/fifo')).toEqual([
        'as1000/file 1000:1001',
        'as1000/fifo 1000:1001',
      ]);
    }
    expect(await out('/made', 'made')).toEqual(['made 1000:1001']);
    expect(await runtime.statPath(one.id, '/made')).toMatchObject({ uid: 1000, gid: 1001 });
    const upper = join(home, 'engine/oci/containers', one.id, 'upper');
    const data = join(home, 'engine/volumes/copied/data');
    for (const path of [join(upper, 'as1000/file'), join(data, 'as1000/file')])
      expect(await stat(path)).toMatchObject({ uid: 1000, gid: 1001 });
    await put('/as0', [2000], false);
    expect(await seen('/as0/as2000')).toBe(all('0:0'));
    await expect(put('/', [70_000])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const names = ['made', 'as0/file', 'as1000/file', 'app/attempts'];
    const owners = ['made 1000:1001', 'as0/file 0:0', 'as1000/file 1000:1001', 'app/attempts 0:0'];
    expect(await ownersOf(await runtime.exportRootfs(one.id), names)).toEqual(owners);
    const changes = await runtime.diff(one.id);
    expect(changes).toContainEqual({ path: '/made', kind: 'added' });
    expect(changes.filter(({ path }) => path.startsWith('/app'))).toEqual([]);
    await runtime.commit(one.id, { reference: 'heptad-test/user-namespaces:committed' });
    const again = container(
      "const fs = require('fs'); for (const path of ['/made', '/as0/file', '/as1000/file']) console.log(fs.statSync(path).uid)",
      { image: 'heptad-test/user-namespaces:committed' },
    );
    expect(await output(await engine.run(again))).toEqual(['1000', '0', '1000']);
    expect(await output(await engine.run({ ...again, name: 'plain', userNamespace: 'host' }))).toEqual([
      '1000',
      '0',
      '1000',
    ]);

    await one.stop({ graceMs: 0 });
    for (const at of ['/', '/data/']) {
      await put(at, [0, 3000]);
      expect(await out(`${at}as3000`, 'as3000/file')).toEqual(['as3000/file 3000:3001']);
    }
    expect(await runtime.statPath(one.id, '/data/as3000/file')).toMatchObject({ uid: 3000, gid: 3001 });
    expect(await ownersOf(await runtime.exportRootfs(one.id), names)).toEqual(owners);
    await one.start();
    for (const at of ['/', '/data/'])
      expect([await seen(`${at}as0`), await seen(`${at}as3000`)]).toEqual([all('0:0'), all('3000:3001')]);
    await one.remove({ force: true });
  });

  it('every escape attempt fails there too', async () => {
    const facts = {
      HOST_PID: String(process.pid),
      HOST_FILE: join(home, 'app'),
      HOST_SOCKET: 'none',
      HOST_PORT: '9',
      GATEWAY: '127.0.0.1',
      HOST_DISK: '254:0',
      LINK_LOCAL: '169.254.1.1:9',
      IPC_KEY: '77',
    };
    const command = ATTEMPTS.map(({ name }) => name);
    const said = await output(
      await engine.run(container('', { entrypoint: ['/app/attempts'], command, environment: facts })),
    );
    expect(said.filter((line) => /\t(ESCAPED|UNSURE)\t/.test(line))).toEqual([]);
    expect(said.filter((line) => line.includes('\trefused\t'))).toHaveLength(ATTEMPTS.length);
  });
});
