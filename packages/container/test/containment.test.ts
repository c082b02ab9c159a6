// Containment: from inside a default container every known way out is tried, and the host is the same afterwards.

import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { buildNodeImage, ContainerEngine } from '@heptad/container';
import type { ContainerSpec } from '@heptad/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, runOrThrow } from '../src/system/command.ts';
import { containmentPage } from './containment/page.ts';
import { ATTEMPTS } from './containment/table.ts';
import { noContainers, temporaryDirectory } from './support.ts';

const number = process.pid % 200;
const network = { bridgeName: `hpc${number}`, subnet: `10.213.${number}.0/24` } as const;
const gateway = `10.213.${number}.1`;
const linkLocal = `169.254.213.${number}`;
const IMAGE = 'heptad-test/containment:1';
const SOURCE = join(import.meta.dirname, 'containment/attempts.c');
// What attempts would leave behind on the host, were one of them to come through.
const TRACES = ['/tmp/escaped', '/tmp/heptad-escape'];

let home: string;
let program: string;
let engine: ContainerEngine;
let servers: Server[];
let facts: Record<string, string>;

async function listen(address: { host: string; port: number } | { path: string }): Promise<Server> {
  const server = createServer((socket) => socket.end('host'));
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject);
    server.listen(address, resolve);
  });
  return server;
}

function portOf(server: Server | undefined): number {
  const address = server?.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** The root disk as major:minor; every machine with files on a disk has one. */
async function hostDisk(): Promise<string> {
  const line = (await readFile('/proc/partitions', 'utf8')).split('\n')[2] ?? '';
  const [major, minor] = line.trim().split(/\s+/);
  return `${major}:${minor}`;
}

/** Everything of the host that an escape would change. Only what no other program changes meanwhile. */
async function hostState(): Promise<Record<string, unknown>> {
  const sysctls = [
    'kernel/core_pattern',
    'kernel/modprobe',
    'kernel/panic',
    'kernel/hostname',
    'kernel/domainname',
    'vm/overcommit_memory',
    'kernel/sysrq',
  ];
  const texts = async (paths: readonly string[]): Promise<string[]> =>
    await Promise.all(paths.map(async (path) => await readFile(path, 'utf8').catch(() => 'absent')));
  const runc = (await run('sh', ['-c', 'command -v runc'])).stdout.trim();
  return {
    hostname: hostname(),
    sysctls: await texts(sysctls.map((name) => `/proc/sys/${name}`)),
    modules: await texts(['/proc/modules', '/proc/swaps', '/sys/kernel/mm/ksm/run']),
    interpreters: await readdir('/proc/sys/fs/binfmt_misc').catch(() => []),
    runtime: createHash('sha256')
      .update(await readFile(runc))
      .digest('hex'),
    marker: await readFile(facts.HOST_FILE ?? '', 'utf8'),
    traces: await Promise.all(TRACES.map((path) => readFile(path, 'utf8').catch(() => 'absent'))),
    mounts: (await readFile('/proc/self/mountinfo', 'utf8'))
      .split('\n')
      .filter((line) => /attempt-|escape/.test(line)),
    firewall: (await run('nft', ['list', 'tables'])).stdout.includes('heptad_escape'),
    links: (await run('ip', ['-o', 'link', 'show', 'dev', 'lo'])).stdout.replace(/qlen.*/, ''),
    keys: (await readFile('/proc/keys', 'utf8')).includes('heptad-escape'),
    cgroups: (await readdir('/sys/fs/cgroup')).includes('escaped'),
    processes: (await run('ps', ['-eo', 'args'])).stdout
      .split('\n')
      .filter((line) => line.includes('/app/attempts') || line.includes('setuid-root')),
  };
}

const container = (more: Partial<ContainerSpec>): ContainerSpec => ({
  name: 'escape',
  image: IMAGE,
  // Root, which is more than the default user of an image that we build: everything else is the default.
  user: '0',
  environment: facts,
  ...more,
});

/** Runs a container to its end; answers its lines. */
async function lines(spec: ContainerSpec): Promise<string[]> {
  const started = await engine.run(spec);
  await started.wait('not-running', AbortSignal.timeout(90_000));
  const found: string[] = [];
  for await (const { text } of started.logs()) found.push(text);
  await started.remove();
  return found;
}

async function attempts(
  names: readonly string[],
  more: Partial<ContainerSpec> = {},
): Promise<Map<string, string>> {
  return results(await lines(container({ entrypoint: ['/app/attempts'], command: names, ...more })));
}

/** `name -> outcome`; lines of another form are remarks. */
function results(said: readonly string[]): Map<string, string> {
  const rows = said.map((line) => line.split('\t')).filter((row) => row.length === 3);
  return new Map(rows.map(([name = '', outcome = '', answer = '']) => [name, `${outcome} (${answer})`]));
}

describe.skipIf(noContainers !== undefined)('containment of a default container', () => {
  beforeAll(async () => {
    home = await temporaryDirectory();
    const app = join(home, 'app');
    await mkdir(app);
    program = join(app, 'attempts');
    await runOrThrow('gcc', ['-static', '-O1', '-o', program, SOURCE], { timeoutMs: 60_000 });
    await writeFile(join(app, 'main.mjs'), '');
    await writeFile(join(home, 'marker'), 'only on the host');
    engine = await ContainerEngine.open({ home: join(home, 'engine'), network });
    await buildNodeImage({
      images: engine.images,
      name: IMAGE,
      directory: app,
      main: 'main.mjs',
      tools: ['/bin/sh', '/bin/sleep'],
    });
    await engine.ensureBridge();
    await runOrThrow('ip', ['address', 'add', `${linkLocal}/32`, 'dev', network.bridgeName]);
    const abstract = `heptad-containment-${process.pid}`;
    servers = await Promise.all([
      listen({ host: '127.0.0.1', port: 0 }),
      listen({ host: linkLocal, port: 0 }),
      listen({ path: `\0${abstract}` }),
    ]);
    facts = {
      HOST_PID: String(process.pid),
      HOST_FILE: join(home, 'marker'),
      HOST_SOCKET: abstract,
      HOST_PORT: String(portOf(servers[0])),
      GATEWAY: gateway,
      HOST_DISK: await hostDisk(),
      LINK_LOCAL: `${linkLocal}:${portOf(servers[1])}`,
      IPC_KEY: String(0x68700000 + number),
    };
  });

  afterAll(async () => {
    for (const server of servers) server.close();
    for (const { id } of await engine.runtime.list()) await engine.runtime.remove(id, { force: true });
    await engine.network?.removeBridge();
    await engine.close();
    await rm(home, { recursive: true, force: true });
  });

  it('every attempt fails, and the host is unchanged', async () => {
    const before = await hostState();
    const found = await attempts(ATTEMPTS.map(({ name }) => name));
    expect([...found].filter(([, outcome]) => !outcome.startsWith('refused'))).toEqual([]);
    expect([...found.keys()]).toEqual(ATTEMPTS.map(({ name }) => name));
    expect(ATTEMPTS.length).toBeGreaterThanOrEqual(40);
    expect(await hostState()).toEqual(before);
  });

  it('they fail for an ordinary user too', async () => {
    // The setuid program is made by root; all others need no preparation.
    const names = ATTEMPTS.map(({ name }) => name).filter((name) => name !== 'setuid_program');
    const found = await attempts(names, { user: '1000' });
    expect([...found].filter(([, outcome]) => !outcome.startsWith('refused'))).toEqual([]);
  });

  it('the attempts are real: root in namespaces of its own succeeds with them', async () => {
    const isolated = [
      '--mount',
      '--net',
      '--uts',
      '--ipc',
      '--pid',
      '--cgroup',
      '--fork',
      '--mount-proc',
      '--kill-child',
    ];
    const names = ATTEMPTS.flatMap(({ name, control }) => (control === 'root' ? [name] : []));
    const env = { ...facts, HOST_PID: '1' };
    // A file left open, for the attempt that looks for one.
    const leaking = [
      '-c',
      'exec 9</etc/hostname; exec "$@"',
      'sh',
      'unshare',
      ...isolated,
      program,
      ...names,
    ];
    const direct = await run('sh', leaking, { env, timeoutMs: 90_000 });
    const cage = join(home, 'cage');
    await mkdir(join(cage, 'tmp'), { recursive: true });
    await cp(program, join(cage, 'attempts'));
    const caged = ATTEMPTS.flatMap(({ name, control }) => (control === 'chroot' ? [name] : []));
    const inCage = await run('chroot', [cage, '/attempts', ...caged], { env });
    const found = results([...direct.stdout.split('\n'), ...inCage.stdout.split('\n')]);
    // A device or a kind of socket that this machine has not cannot be got by anybody.
    const absent = /^refused \((ENOENT|ENODEV|ENXIO|ENOSYS|EAFNOSUPPORT|EPROTONOSUPPORT)\)$/;
    const escaped = [...found.values()].filter((outcome) => outcome.startsWith('ESCAPED'));
    expect(
      [...found].filter(([, outcome]) => !outcome.startsWith('ESCAPED') && !absent.test(outcome)),
    ).toEqual([]);
    expect(found.size).toBe(names.length + caged.length);
    expect(escaped.length).toBeGreaterThanOrEqual(60);
  });

  it('the runtime cannot be overwritten while programs are run in the container', async () => {
    const before = await hostState();
    const target = await engine.run(
      container({ entrypoint: ['/app/attempts'], command: ['overwrite_runtime', 'inherited_files'] }),
    );
    for (let round = 0; round < 12; round += 1) {
      // A program whose interpreter is whatever started it: the trick of CVE-2019-5736.
      const session = await target.exec({ command: ['/proc/self/exe', '--version'] }).catch(() => undefined);
      await session?.exit.catch(() => undefined);
    }
    await target.wait('not-running', AbortSignal.timeout(30_000));
    const said: string[] = [];
    for await (const { text } of target.logs()) said.push(text);
    await target.remove();
    expect(said.filter((line) => line.includes('ESCAPED'))).toEqual([]);
    expect(results(said).size).toBe(2);
    expect(await hostState()).toEqual(before);
  });

  it('a working directory in /proc, through a leaked file, is refused (CVE-2024-21626)', async () => {
    for (const workingDirectory of [
      '/proc/self/fd/7',
      '/proc/self/fd/8/../../..',
      '/proc/1/root',
      '/proc/self/cwd',
    ]) {
      await expect(engine.run(container({ workingDirectory }))).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    }
    const target = await engine.run(container({ entrypoint: ['/bin/sleep'], command: ['60'] }));
    await expect(
      target.exec({ command: ['/bin/sh', '-c', ':'], workingDirectory: '/proc/self/fd/7' }),
    ).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    // The same by a link of the container's own making: it leads nowhere, or stays inside.
    const made = await target.exec({
      command: ['node', '-e', "require('fs').symlinkSync('/proc/self/fd/7', '/tmp/way-out')"],
    });
    expect(await made.exit).toBe(0);
    const through = await target
      .exec({
        command: ['/bin/sh', '-c', `read x < ../../../..${facts.HOST_FILE} && echo "$x"`],
        workingDirectory: '/tmp/way-out',
      })
      .catch(() => undefined);
    const exit = await through?.exit.catch(() => 126);
    expect(exit).not.toBe(0);
    await target.remove({ force: true });
  });

  it('volumes and binds with links in them do not lead to the host', async () => {
    const shared = join(home, 'shared');
    await mkdir(shared);
    const volume = { type: 'volume', name: 'trap', target: '/trap' } as const;
    // One container lays links into the volume that it shares with another.
    await lines(
      container({
        entrypoint: ['node'],
        command: [
          '-e',
          `const fs = require('fs'); fs.symlinkSync('${home}', '/trap/out'); fs.symlinkSync('/', '/trap/root'); fs.symlinkSync('../../../../../..${home}', '/trap/up')`,
        ],
        mounts: [volume],
      }),
    );
    for (const link of ['out', 'root', 'up']) {
      const said = await lines(
        container({
          entrypoint: ['node'],
          command: [
            '-e',
            `try { console.log(require('fs').readdirSync('/trap/${link}').join()) } catch (e) { console.log(e.code) }`,
          ],
          mounts: [volume],
        }),
      );
      expect(said.join()).not.toContain('marker');
      // A mount whose target goes through such a link must land inside the container, or be refused.
      await lines(
        container({
          entrypoint: ['/bin/sh'],
          command: ['-c', `echo changed > /trap/${link}/marker`],
          mounts: [volume, { type: 'bind', source: shared, target: `/trap/${link}/mounted` }],
        }),
      ).catch(() => []);
      expect(await readFile(join(home, 'marker'), 'utf8')).toBe('only on the host');
      expect(await readdir(home)).not.toContain('mounted');
    }
    // A bind's source is the host's own word: a link there is followed by the host, and only to what it names.
    await symlink(shared, join(home, 'link'));
    const [seen] = await lines(
      container({
        entrypoint: ['node'],
        command: ['-p', "require('fs').readdirSync('/here').length"],
        mounts: [{ type: 'bind', source: join(home, 'link'), target: '/here' }],
      }),
    );
    expect(seen).toBe('0');
  });

  it('mounts over /proc and over the devices that mask it are refused (CVE-2025-31133, 52565, 52881)', async () => {
    for (const target of [
      '/proc',
      '/proc/self/attr',
      '/proc/sys/kernel',
      '/dev',
      '/dev/null',
      '/dev/pts',
      '/dev/console',
      '/dev/./null',
    ]) {
      await expect(
        engine.run(container({ mounts: [{ type: 'volume', name: 'race', target }] })),
        target,
      ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });

  it('a container that is out of memory dies alone, and all together leave the machine some', async () => {
    const [before] = (await readFile('/proc/meminfo', 'utf8')).match(/(?<=MemTotal:\s+)\d+/) ?? ['0'];
    const hog = await engine.run(
      container({
        entrypoint: ['node'],
        command: ['-e', 'const keep = []; for (;;) keep.push(Buffer.alloc(8 << 20, 1))'],
        limits: { memoryBytes: 96 << 20 },
      }),
    );
    expect(await hog.wait('not-running', AbortSignal.timeout(60_000))).toMatchObject({
      exitCode: 137,
      oomKilled: true,
    });
    const whole = await readFile('/sys/fs/cgroup/memory/heptad/memory.limit_in_bytes', 'utf8').catch(() =>
      readFile('/sys/fs/cgroup/heptad/memory.max', 'utf8'),
    );
    expect(Number(whole)).toBeLessThan(Number(before) * 1024);
    const processes = await readFile('/sys/fs/cgroup/pids/heptad/pids.max', 'utf8').catch(() =>
      readFile('/sys/fs/cgroup/heptad/pids.max', 'utf8'),
    );
    expect(Number(processes)).toBeLessThan(Number(await readFile('/proc/sys/kernel/pid_max', 'utf8')));
    await hog.remove();
  });

  it('a read-only container writes nowhere but to its bounded memory', async () => {
    const found = await attempts(['fill_root', 'fill_shared_memory'], { readOnlyRootfs: true });
    expect([...found.values()]).toEqual(['refused (ENOSPC)', 'refused (ENOSPC)']);
    const [said] = await lines(
      container({
        readOnlyRootfs: true,
        entrypoint: ['node'],
        command: ['-e', "try { require('fs').writeFileSync('/x', '') } catch (e) { console.log(e.code) }"],
      }),
    );
    expect(said).toBe('EROFS');
  });

  it('the documentation has this table', async () => {
    await expect(containmentPage(ATTEMPTS)).toMatchFileSnapshot('../../../docs/concepts/containment.md');
  });
});
