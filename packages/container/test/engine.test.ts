// The engine as its users meet it: run, look, limit, isolate, fail clearly, and leave the machine as it was.

import { appendFile, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { buildNodeImage, type Container, ContainerEngine } from '@heptad/container';
import type { ContainerSpec } from '@heptad/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { putJson } from '../src/image/documents.ts';
import { MEDIA_TYPE } from '../src/image/manifest.ts';
import { run } from '../src/system/command.ts';
import { noContainers, temporaryDirectory } from './support.ts';

const subnetNumber = process.pid % 200;
const network = {
  bridgeName: `hpe${subnetNumber}`,
  subnet: `10.212.${subnetNumber}.0/24`,
  isolated: true,
} as const;
const IMAGE = 'heptad-test/engine:1';
let home: string;
let engine: ContainerEngine;
let names = 0;

async function buildImage(into: ContainerEngine): Promise<void> {
  const app = join(home, 'app');
  await mkdir(app, { recursive: true });
  await writeFile(join(app, 'main.mjs'), 'console.log("ready"); setInterval(() => {}, 1000);\n');
  await buildNodeImage({
    images: into.images,
    name: IMAGE,
    directory: app,
    main: 'main.mjs',
    tools: ['/bin/sh', '/bin/sleep'],
  });
}

const script = (source: string, more: Partial<ContainerSpec> = {}): ContainerSpec => ({
  name: `c${++names}`,
  image: IMAGE,
  entrypoint: ['node'],
  command: ['-e', source],
  network: 'none',
  ...more,
});

async function output(container: Container): Promise<string[]> {
  const lines: string[] = [];
  for await (const { text } of container.logs()) lines.push(text);
  return lines;
}

/** Runs to the end and removes; answers what it said. */
async function outcome(
  source: string,
  more: Partial<ContainerSpec> = {},
): Promise<{ exitCode: number; oomKilled: boolean; lines: string[] }> {
  const container = await engine.run(script(source, more));
  const { exitCode, oomKilled } = await container.wait('not-running', AbortSignal.timeout(30_000));
  const lines = await output(container);
  await container.remove();
  return { exitCode, oomKilled, lines };
}

async function exec(
  container: Container,
  command: string[],
  more = {},
): Promise<{ exitCode: number; stdout: string }> {
  const session = await container.exec({ command, ...more });
  const chunks: Uint8Array[] = [];
  for await (const chunk of session.stdout) chunks.push(chunk);
  return { exitCode: await session.exit, stdout: Buffer.concat(chunks).toString() };
}

/** Everything of the machine that containers touch. */
async function machine(): Promise<Record<string, string[]>> {
  const list = async (path: string): Promise<string[]> => (await readdir(path).catch(() => [])).sort();
  const mine = (lines: string[]): string[] => lines.filter((line) => line.includes(home)).sort();
  const cgroups = await Promise.all(
    (await list('/sys/fs/cgroup')).map(async (each) =>
      (await list(`/sys/fs/cgroup/${each}/heptad`)).map((name) => `${each}/${name}`),
    ),
  );
  const known = new Set(await list(join(home, 'oci', 'containers')));
  return {
    mounts: mine((await readFile('/proc/self/mountinfo', 'utf8')).split('\n')),
    attachments: await list(join(home, 'network/attachments')),
    leases: (await list(join(home, 'network/leases/bridge'))).filter((name) => /^\d+\./.test(name)),
    runtime: await list(join(home, 'oci/state')),
    exits: await list(join(home, 'oci/exits')),
    containers: await list(join(home, 'oci/containers')),
    cgroups: cgroups.flat().filter((name) => known.has(name.split('/')[1] ?? '')),
    links: (await run('ip', ['-o', 'link', 'show', 'master', network.bridgeName])).stdout
      .split('\n')
      .filter(Boolean),
    processes: mine(
      (await run('ps', ['-eo', 'args'])).stdout.split('\n').filter((line) => line.includes('conmon')),
    ),
    firewall: (await run('iptables', ['-t', 'nat', '-S'])).stdout
      .split('\n')
      .filter((line) => line.includes(`10.212.${subnetNumber}.`)),
  };
}

describe.skipIf(noContainers !== undefined)('ContainerEngine with real containers', () => {
  beforeAll(async () => {
    home = await temporaryDirectory();
    engine = await ContainerEngine.open({ home, network });
    await buildImage(engine);
  });

  afterAll(async () => {
    for (const { id } of await engine.runtime.list()) await engine.runtime.remove(id, { force: true });
    await engine.network?.removeBridge();
    await engine.close();
    await rm(home, { recursive: true, force: true });
  });

  it("gives a container volumes of its own at its image's VOLUME paths, and takes them away when asked", async () => {
    const volumes = async (): Promise<string[]> => await readdir(join(home, 'volumes')).catch(() => []);
    const before = await volumes();
    const { manifest, config } = await engine.images.inspect(IMAGE);
    const declares = {
      ...config,
      config: { ...config.config, Volumes: { '/app/': {}, '/own': {}, '/given': {} } },
    };
    const image = 'heptad-test/engine:volumes';
    const written = await putJson(engine.images, declares, manifest.config.mediaType);
    const target = await putJson(engine.images, { ...manifest, config: written }, MEDIA_TYPE.manifest);
    await engine.images.setTag(image, target);
    const look =
      "const fs = require('fs'); console.log(fs.readdirSync('/app').join(), fs.readdirSync('/own').join(), fs.readdirSync('/given').join()); for (const at of ['/app', '/own', '/given']) fs.writeFileSync(at + '/kept', '')";
    const mounts = [{ type: 'tmpfs', target: '/given/' }] as const;
    const one = await engine.run(script(look, { image, mounts, user: '0' }));
    await one.wait('not-running', AbortSignal.timeout(30_000));
    const own = (await one.inspect()).mounts.filter(({ type }) => type === 'volume');
    expect(own.map((mount) => mount.target)).toEqual(['/app', '/own']);
    await one.start();
    await one.wait('not-running', AbortSignal.timeout(30_000));
    // The image's files were taken over; what it wrote outlives the run, and is its alone.
    expect(await output(one)).toEqual(['main.mjs  ', 'kept,main.mjs kept ']);
    const other = await engine.run(script(look, { image, mounts, user: '0' }));
    await other.wait('not-running', AbortSignal.timeout(30_000));
    expect(await output(other)).toEqual(['main.mjs  ']);
    expect(await engine.runtime.diff(one.id)).toEqual([]);
    expect((await volumes()).length).toBe(before.length + 4);
    // One that another mounts by its name stays.
    const [first] = own;
    const name = first?.type === 'volume' ? first.name : '';
    const user = await engine.run(
      script("console.log(require('fs').readdirSync('/theirs').join())", {
        mounts: [{ type: 'volume', name, target: '/theirs' }],
      }),
    );
    await user.wait('not-running', AbortSignal.timeout(30_000));
    expect(await output(user)).toEqual(['kept,main.mjs']);
    await one.remove({ volumes: true });
    await other.remove();
    expect((await volumes()).length).toBe(before.length + 3);
    expect(await volumes()).toContain(name);
    await user.remove({ volumes: true });
    expect(await volumes()).toContain(name);
    // What cannot be made leaves none.
    const left = await volumes();
    const broken = script(look, { image, mounts: [{ type: 'bind', source: '/nowhere', target: '/z' }] });
    await expect(engine.runtime.create(broken)).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' });
    const unknown = script(look, { image, mounts, entrypoint: ['/nothing'] });
    await expect(engine.run(unknown)).rejects.toThrow();
    expect(await volumes()).toEqual(left);
    const over = { ...declares, config: { ...declares.config, Volumes: { '/x/../proc': {} } } };
    const hostile = await putJson(engine.images, over, manifest.config.mediaType);
    await engine.images.setTag(
      image,
      await putJson(engine.images, { ...manifest, config: hostile }, MEDIA_TYPE.manifest),
    );
    await expect(engine.runtime.create(script(look, { image }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await engine.images.remove(image);
    for (const made of left.filter((each) => !before.includes(each)))
      await rm(join(home, 'volumes', made), { recursive: true });
  });

  it('chooses real containers where they work, and says so', async () => {
    expect(await engine.probe()).toMatchObject({
      ok: true,
      runtime: 'oci',
      reasons: [],
      capabilities: { isolation: 'container' },
    });
  });

  it('leaves the machine as it was, whatever happened', async () => {
    await engine.ensureBridge();
    const before = await machine();
    const many = await Promise.all(
      Array.from({ length: 6 }, () =>
        engine.run(
          script('setInterval(() => {}, 1000)', {
            network: 'bridge',
            secrets: [{ target: '/run/s', content: 'x' }],
          }),
        ),
      ),
    );
    await many[0]?.pause();
    await exec(many[1] as Container, ['sh', '-c', 'sleep 1000 >/dev/null 2>&1 &']);
    await many[2]?.stop({ graceMs: 0 });
    await many[3]?.kill();
    await many[3]?.wait();
    await Promise.all(many.map((container) => container.remove({ force: true })));
    // Every half-made thing must go as well.
    for (const broken of [
      script('', { entrypoint: ['/no/such/program'], network: 'bridge' }),
      script('', { user: 'nobody-here', network: 'bridge' }),
      script('', { mounts: [{ type: 'bind', source: '/no/such/path', target: '/x' }], network: 'bridge' }),
      script('', { network: 'no-such-network' }),
      script('', { image: 'no-such-image' }),
      script('', { workingDirectory: '/etc/passwd', network: 'bridge' }),
    ]) {
      await expect(engine.run(broken)).rejects.toMatchObject({ code: expect.any(String) });
    }
    expect(await machine()).toEqual(before);
  });

  it('errors say what to do', async () => {
    await expect(engine.run(script('', { entrypoint: ['/no/such/program'] }))).rejects.toMatchObject({
      code: 'RUNTIME_FAILED',
      message: expect.stringContaining('/no/such/program'),
      hint: expect.stringContaining('not in the image'),
    });
    await expect(engine.run(script('', { image: 'nope' }))).rejects.toMatchObject({
      code: 'IMAGE_NOT_FOUND',
      hint: expect.stringContaining('build'),
    });
    await expect(engine.run(script('', { network: 'nope' }))).rejects.toMatchObject({
      code: 'NETWORK_NOT_FOUND',
      hint: expect.stringContaining('bridge'),
    });
    await expect(
      engine.run(script('', { mounts: [{ type: 'bind', source: '/no/such', target: '/x' }] })),
    ).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' });
  });

  it('cannot see or touch the host', async () => {
    const { lines } = await outcome(
      `const fs = require('fs'), cp = require('child_process');
       const tries = {
         'host process': () => process.kill(${process.pid}, 0),
         'host file': () => fs.statSync('${home}'),
         sysrq: () => fs.writeFileSync('/proc/sysrq-trigger', 'h'),
         'core pattern': () => fs.writeFileSync('/proc/sys/kernel/core_pattern', '|/x'),
         kcore: () => { if (fs.statSync('/proc/kcore').size === 0) throw { code: 'MASKED' } },
         keys: () => { if (fs.readFileSync('/proc/keys', 'utf8') === '') throw { code: 'MASKED' } },
         'sys write': () => fs.writeFileSync('/sys/kernel/mm/ksm/run', '1'),
         'cgroup write': () => fs.mkdirSync('/sys/fs/cgroup/pids/escape'),
         'disk device': () => fs.openSync('/dev/vda', 'r'),
         hostname: () => fs.writeFileSync('/proc/sys/kernel/hostname', 'x'),
       };
       for (const [name, attempt] of Object.entries(tries)) { try { attempt(); console.log('ESCAPED', name) } catch (e) { console.log('refused', name) } }`,
      { user: '0' },
    );
    expect(lines).toHaveLength(10);
    expect(lines.filter((line) => line.startsWith('ESCAPED'))).toEqual([]);
  });

  it('seccomp, capabilities and no_new_privs are in force', async () => {
    const { lines } = await outcome(`console.log(require('fs').readFileSync('/proc/self/status', 'utf8'))`, {
      user: '0',
    });
    const status = lines.join('\n');
    expect(/^Seccomp:\s*2$/m.test(status)).toBe(true);
    expect(/^NoNewPrivs:\s*1$/m.test(status)).toBe(true);
    expect(/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1]).toBe('00000000800405fb');
  });

  it('a memory limit is enforced and an out-of-memory death reported; a cpu limit is in the cgroup', async () => {
    const hog = await outcome('const keep = []; for (;;) keep.push(Buffer.alloc(8 << 20, 1))', {
      limits: { memoryBytes: 96 << 20 },
    });
    expect(hog).toMatchObject({ exitCode: 137, oomKilled: true });
    const busy = await engine.run(script('setInterval(() => {}, 1000)', { limits: { cpuMillis: 250 } }));
    const quota = async (): Promise<string> =>
      (
        await readFile(`/sys/fs/cgroup/cpu/heptad/${busy.id}/cpu.cfs_quota_us`, 'utf8').catch(() =>
          readFile(`/sys/fs/cgroup/heptad/${busy.id}/cpu.max`, 'utf8'),
        )
      )
        .trim()
        .split(' ')[0] ?? '';
    expect(await quota()).toBe('25000');
    await busy.update({ cpuMillis: 750 });
    expect(await quota()).toBe('75000');
    await busy.remove({ force: true });
  });

  it('an exec that times out is killed with everything it started', async () => {
    const container = await engine.run(script('setInterval(() => {}, 1000)'));
    const { stdout } = await exec(container, ['node', '-e', 'console.log(process.pid)']);
    expect(Number(stdout)).toBeGreaterThan(1);
    const tree = ['sh', '-c', '(sleep 4321 & sleep 4321 & wait) & sleep 4321'];
    await expect(exec(container, tree, { timeoutMs: 600 })).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect((await run('pgrep', ['-f', 'sleep 4321'])).stdout).toBe('');
    expect((await container.stats()).pids).toBeLessThan(30);
    await expect(exec(container, ['/no/such'])).rejects.toMatchObject({ code: 'EXEC_FAILED' });
    expect(await exec(container, ['sh', '-c', 'exit 42'])).toMatchObject({ exitCode: 42 });
    const who = await exec(
      container,
      ['node', '-p', 'process.getuid() + process.cwd() + require("os").hostname()'],
      {
        user: '77',
        workingDirectory: '/tmp',
      },
    );
    expect(who.stdout.trim()).toBe(`77/tmp${container.id.slice(0, 12)}`);
    await container.remove({ force: true });
  });

  it('logs are rotated within their bounds, and a follower misses nothing', async () => {
    const container = await engine.run(
      script(
        `let n = 0; const t = setInterval(() => { for (let i = 0; i < 20; i++) console.log(String(n++).padStart(99, '.')); if (n === 1000) { clearInterval(t) } }, 100)`,
        {
          logs: { maxBytes: 20_000, maxFiles: 20 },
        },
      ),
    );
    const seen: number[] = [];
    for await (const { text } of container.logs({ follow: true }))
      seen.push(Number(text.replaceAll('.', '')));
    expect(seen).toEqual(Array.from({ length: 1000 }, (_, index) => index));
    const directory = join(home, 'oci', 'containers', container.id);
    const files = (await readdir(directory)).filter((name) => name.startsWith('log'));
    expect(files.length).toBeGreaterThan(2);
    await container.remove();
  });

  it('isolated containers reach the host by the gateway but not each other; a published port answers on loopback', async () => {
    const serve = `require('http').createServer((q, r) => r.end('hello')).listen(80, () => console.log('ready'))`;
    const port = await freePort();
    const one = await engine.run(
      script(serve, { network: 'bridge', ports: [{ hostPort: port, containerPort: 80 }] }),
    );
    const other = await engine.run(
      script(serve, { network: 'bridge', hosts: { one: (await one.inspect()).address ?? '' } }),
    );
    await until(async () => (await output(one)).includes('ready') && (await output(other)).includes('ready'));
    expect(await (await fetch(`http://${(await one.inspect()).address}/`)).text()).toBe('hello');
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('hello');
    const host = createServer((socket) => socket.end('from the host'));
    const { gateway } = await engine.ensureBridge();
    await new Promise<void>((resolve) => host.listen({ host: gateway, port: 0 }, resolve));
    const address = host.address();
    const hostPort = typeof address === 'object' && address !== null ? address.port : 0;
    const connect = (target: string, to: number): string[] => [
      'node',
      '-e',
      `require('net').connect({ host: '${target}', port: ${to}, timeout: 1500 }).on('data', (d) => console.log(String(d))).on('connect', () => console.log('connected')).on('timeout', () => { console.log('nothing'); process.exit() }).on('error', (e) => console.log('nothing'))`,
    ];
    expect((await exec(other, connect(gateway, hostPort))).stdout).toContain('from the host');
    expect((await exec(other, connect('one', 80), { timeoutMs: 20_000 })).stdout.trim()).toBe('nothing');
    host.close();
    await one.remove({ force: true });
    await other.remove({ force: true });
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow();
  });

  it('a volume takes over what the image has, belongs to the container user, and is kept', async () => {
    const mounts = [{ type: 'volume', name: 'data', target: '/home/node' }] as const;
    const write = await outcome(
      `require('fs').writeFileSync('/home/node/f', 'kept'); console.log(process.getuid())`,
      { mounts },
    );
    expect(write.lines).toEqual(['1000']);
    expect(await readFile(join(home, 'volumes/data/data/f'), 'utf8')).toBe('kept');
    const read = await outcome(
      `console.log(require('fs').readFileSync('/home/node/f', 'utf8')); try { require('fs').writeFileSync('/home/node/g', '') } catch (e) { console.log(e.code) }`,
      {
        mounts: [{ ...mounts[0], readOnly: true }],
      },
    );
    expect(read.lines).toEqual(['kept', 'EROFS']);
  });

  it('secrets of a container that is started again are still there, and nowhere on disk', async () => {
    const container = await engine.run(
      script(`console.log(require('fs').readFileSync('/run/s', 'utf8'))`, {
        secrets: [{ target: '/run/s', content: 'q-secret-9' }],
      }),
    );
    await container.wait();
    await container.start();
    await container.wait();
    expect(await output(container)).toEqual(['q-secret-9', 'q-secret-9']);
    const { stdout } = await run('grep', [
      '-rl',
      '--exclude-dir=secrets',
      '--exclude=log',
      'q-secret-9',
      join(home, 'oci'),
    ]);
    expect(stdout).toBe('');
    await container.remove();
  });

  it('check finds damage, repair drops just that, and the engine goes on', async () => {
    expect(await engine.check()).toMatchObject({ ok: true });
    const { manifest } = await engine.images.inspect(IMAGE);
    const app = manifest.layers[1]?.digest ?? '';
    const blob = join(home, 'images/content/blobs/sha256', app.slice(7));
    const size = (await stat(blob)).size;
    await truncate(blob, size - 5);
    await appendFile(blob, 'xxxxx');
    // Of the right size: only a look at every byte finds it.
    expect(await engine.check()).toMatchObject({ ok: true });
    const report = await engine.check({ deep: true });
    expect(report.damage).toEqual([{ what: 'blob', which: app, why: expect.stringContaining('damaged') }]);
    const repaired = await engine.repair({ deep: true });
    expect(repaired.damage[0]?.repaired).toContain('deleted');
    await buildImage(engine);
    expect(await engine.check()).toMatchObject({ ok: true });
    expect((await outcome('console.log(1)')).lines).toEqual(['1']);
  });
});

describe('ContainerEngine with plain processes', () => {
  it('runs what buildNodeImage made, says what is missing, and refuses what it cannot', async () => {
    home = await temporaryDirectory();
    const plain = await ContainerEngine.open({ home, runtime: 'process' });
    try {
      await buildImage(plain);
      const probe = await plain.probe();
      expect(probe).toMatchObject({
        runtime: 'process',
        capabilities: { isolation: 'process', limits: false },
      });
      expect(probe.reasons.join()).toContain('apt-get install runc conmon');
      const container = await plain.run({
        name: 'a',
        image: IMAGE,
        secrets: [{ target: '/run/key', content: 'k' }],
        environment: { KEY_FILE: '/run/key' },
      });
      await until(async () => (await output(container)).includes('ready'));
      const inside = await exec(container, [
        'node',
        '-p',
        'JSON.stringify([process.env.HOST, require("fs").readFileSync(process.env.KEY_FILE, "utf8")])',
      ]);
      expect(JSON.parse(inside.stdout)).toEqual([(await container.inspect()).address, 'k']);
      expect((await container.inspect()).address).toMatch(/^127\.87\./);
      await expect(container.update({ cpuMillis: 100 })).rejects.toMatchObject({
        code: 'NOT_SUPPORTED',
        details: { driver: 'oci' },
      });
      await expect(plain.ensureBridge()).rejects.toMatchObject({ code: 'NOT_SUPPORTED' });
      await container.remove({ force: true });
    } finally {
      await plain.close();
      await rm(home, { recursive: true, force: true });
    }
  });

  it('a damaged container record is reported by check and set aside by repair', async () => {
    home = await temporaryDirectory();
    let plain = await ContainerEngine.open({ home, runtime: 'process' });
    try {
      await buildImage(plain);
      const id = await plain.runtime.create({ name: 'a', image: IMAGE });
      await plain.close();
      const record = join(home, 'process/containers', id, 'container.json');
      await truncate(record, 10);
      plain = await ContainerEngine.open({ home, runtime: 'process' });
      const report = await plain.check();
      expect(report.damage).toEqual([{ what: 'container', which: id, why: expect.stringContaining(record) }]);
      await plain.repair();
      expect(await plain.check()).toMatchObject({ ok: true });
      expect((await readdir(join(home, 'process'))).some((name) => name === `damaged-${id}`)).toBe(true);
    } finally {
      await plain.close();
      await rm(home, { recursive: true, force: true });
    }
  });
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error('it never came true');
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
