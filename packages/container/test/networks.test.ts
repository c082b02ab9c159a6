// Networks as their users meet them: names, ports, joining and leaving, the user's firewall, crashes, and no trace afterwards.

import { createSocket, type Socket } from 'node:dgram';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { buildNodeImage, type Container, ContainerEngine } from '@heptad/container';
import type { ContainerSpec } from '@heptad/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, runOrThrow } from '../src/system/command.ts';
import { noContainers, temporaryDirectory } from './support.ts';

const number = process.pid % 200;
const network = { bridgeName: `hpn${number}`, subnet: `10.214.${number}.0/24` } as const;
const IMAGE = 'heptad-test/networks:1';
let home: string;
let engine: ContainerEngine;
let names = 0;

let outside: Socket;
const open = (): Promise<ContainerEngine> =>
  ContainerEngine.open({
    home: join(home, 'engine'),
    network,
    nameServers: [`127.0.0.1#${outside.address().port}`],
  });

/** A name server outside, which knows `outside.test` alone. */
async function nameServer(): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (question, from) => {
    const known = question.includes('outside');
    const answer = Buffer.from(question);
    answer[2] = 0x81;
    answer[3] = known ? 0x80 : 0x83;
    // One question, at most one answer, no other sections: what else was asked (EDNS) is not answered.
    answer.writeUInt16BE(known ? 1 : 0, 6);
    answer.writeUInt32BE(0, 8);
    const end = question.indexOf(0, 12) + 5;
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 9]);
    socket.send(
      Buffer.concat([answer.subarray(0, end), known ? record : Buffer.alloc(0)]),
      from.port,
      from.address,
    );
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', () => resolve()));
  return socket;
}

/** A program that answers with its name on TCP 8080 and UDP 8081. */
const SERVER = `
const name = process.env.NAME;
require('http').createServer((q, r) => r.end(name + ' to ' + q.socket.remoteAddress)).listen(8080, '0.0.0.0', () => console.log('ready'));
const u = require('dgram').createSocket('udp4'); u.on('message', (m, f) => u.send(name + ' heard ' + m, f.port, f.address)); u.bind(8081);
`;

const server = (name: string, more: Partial<ContainerSpec> = {}): ContainerSpec => ({
  name,
  image: IMAGE,
  entrypoint: ['node'],
  command: ['-e', SERVER],
  environment: { NAME: name },
  ...more,
});

async function ready(container: Container): Promise<void> {
  for await (const { text } of container.logs({ follow: true, signal: AbortSignal.timeout(20_000) })) {
    if (text === 'ready') return;
  }
}

/** Starts one and waits until it listens. */
async function serve(name: string, more: Partial<ContainerSpec> = {}): Promise<Container> {
  const container = await engine.run(server(name, more));
  await ready(container);
  return container;
}

/** What a program in a container prints. */
async function inside(container: Container, source: string): Promise<string> {
  const session = await container.exec({ command: ['node', '-e', source], timeoutMs: 20_000 });
  const chunks: Uint8Array[] = [];
  for await (const chunk of session.stdout) chunks.push(chunk);
  await session.exit;
  return Buffer.concat(chunks).toString().trim();
}

const fetching = (url: string): string =>
  `fetch('${url}', { signal: AbortSignal.timeout(3000) }).then((r) => r.text()).then(console.log, (e) => console.log('failed', e.cause?.code ?? e.name))`;
const looking = (name: string): string =>
  `require('dns').resolve4('${name}', (e, a) => console.log(e ? e.code : a.sort().join()))`;

async function get(url: string): Promise<string> {
  return await fetch(url, { signal: AbortSignal.timeout(3_000) }).then(
    (response) => response.text(),
    () => 'failed',
  );
}

async function freePort(): Promise<number> {
  const listener = createServer();
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as AddressInfo;
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

/** Everything of the machine that networks touch. */
async function traces(): Promise<Record<string, unknown>> {
  const list = async (path: string): Promise<string[]> => (await readdir(path).catch(() => [])).sort();
  const rules = (await run('nft', ['list', 'ruleset'])).stdout;
  return {
    tables: rules
      .split('\n')
      .filter(
        (line) =>
          /^table ip heptad-h[np]/.test(line) &&
          (line.includes(network.bridgeName) || made.some((name) => line.includes(name))),
      ),
    bridges: (await run('ip', ['-o', 'link', 'show', 'type', 'bridge'])).stdout
      .split('\n')
      .filter((line) => made.some((name) => line.includes(name))),
    ports: await reserved(),
    attachments: await list(join(home, 'engine/network/attachments')),
    leases: (await list(join(home, 'engine/network/leases/bridge'))).filter((name) => /^\d+\./.test(name)),
    networks: await list(join(home, 'engine/network/networks')),
  };
}
/** Reservations of ports by engines of this test. */
async function reserved(): Promise<string[]> {
  const names = await readdir('/run/heptad/ports', { recursive: true }).catch(() => []);
  const owners = await Promise.all(
    names.map((name) => readFile(join('/run/heptad/ports', name), 'utf8').catch(() => '')),
  );
  return owners.filter((owner) => owner.startsWith(home));
}

/** Bridges of networks that tests made. */
const made: string[] = [];

async function createNetwork(
  name: string,
  more = {},
): Promise<{ subnet: string; gateway: string; bridgeName: string }> {
  const info = await engine.networks.create({
    name,
    subnet: `10.215.${(number + made.length * 7) % 250}.0/24`,
    ...more,
  });
  made.push(info.bridgeName);
  return info;
}

describe.skipIf(noContainers !== undefined)('networks', () => {
  beforeAll(async () => {
    home = await temporaryDirectory();
    const app = join(home, 'app');
    await mkdir(app);
    await writeFile(join(app, 'main.mjs'), '');
    outside = await nameServer();
    engine = await open();
    await buildNodeImage({
      images: engine.images,
      name: IMAGE,
      directory: app,
      main: 'main.mjs',
      tools: ['/bin/sh', '/bin/sleep'],
    });
  });

  afterAll(async () => {
    outside.close();
    for (const { id } of await engine.runtime.list()) await engine.runtime.remove(id, { force: true });
    for (const { name } of await engine.networks.list())
      if (name !== 'bridge') await engine.networks.remove(name);
    await engine.network?.removeBridge();
    const left = await traces();
    await engine.close();
    await rm(home, { recursive: true, force: true });
    expect(left).toEqual({ tables: [], bridges: [], ports: [], attachments: [], leases: [], networks: [] });
  });

  it('containers of a network find each other by name, alias and short id; other names go to the host', async () => {
    await createNetwork('shop');
    const one = await serve('catalog', { network: 'shop', networkAliases: ['products'] });
    const two = await serve('cart', { network: 'shop', networkAliases: ['products'] });
    expect(await inside(two, fetching('http://catalog:8080'))).toMatch(/^catalog to /);
    const { networks } = await one.inspect();
    const address = networks[0]?.address ?? '';
    expect(await inside(two, looking('catalog'))).toBe(address);
    expect(await inside(two, looking(one.id.slice(0, 12)))).toBe(address);
    expect((await inside(two, looking('products'))).split(',')).toHaveLength(2);
    expect(
      await inside(
        two,
        `require('dns').resolvePtr('${address.split('.').reverse().join('.')}.in-addr.arpa', (e, n) => console.log(n[0]))`,
      ),
    ).toBe('catalog');
    // What is no container's is asked outside.
    expect(await inside(two, looking('outside.test'))).toBe('192.0.2.9');
    expect(await inside(two, looking('no-such-name.test'))).toBe('ENOTFOUND');
    await one.remove({ force: true });
    expect(await inside(two, looking('catalog'))).toBe('ENOTFOUND');
    expect(
      await inside(two, "console.log(require('fs').readFileSync('/etc/hosts', 'utf8').includes('catalog'))"),
    ).toBe('false');
    await two.remove({ force: true });
  });

  it('names are found while nobody has the engine open, and containers are found again by the next one', async () => {
    await createNetwork('night');
    await serve('owl', { network: 'night' });
    const bat = await serve('bat', { network: 'night' });
    const probe = ['node', '-e', fetching('http://owl:8080')];
    await engine.close();
    const { pid } = JSON.parse(
      await readFile(join(home, 'engine/oci/containers', bat.id, 'container.json'), 'utf8'),
    ).process;
    const said = await runOrThrow('nsenter', ['-t', String(pid), '-m', '-n', '-p', '-u', ...probe]);
    expect(said).toMatch(/^owl to /);
    engine = await open();
    const again = await engine.container('bat');
    expect(await inside(again, looking('owl'))).toMatch(/^10\.215\./);
    for (const name of ['owl', 'bat']) await (await engine.container(name)).remove({ force: true });
  });

  it('a running container joins further networks and leaves them; it joins again when it is started again', async () => {
    await createNetwork('front');
    await createNetwork('back');
    const web = await serve('web', { network: 'front' });
    const db = await serve('db', { network: 'back' });
    expect(await inside(web, fetching('http://db:8080'))).toMatch(/^failed/);
    await engine.networks.connect('back', 'web', { aliases: ['client'] });
    expect(await inside(web, fetching('http://db:8080'))).toMatch(/^db to /);
    expect(await inside(db, fetching('http://client:8080'))).toMatch(/^web to /);
    expect((await web.inspect()).networks.map(({ name }) => name).sort()).toEqual(['back', 'front']);
    await expect(engine.networks.connect('back', 'web')).rejects.toMatchObject({
      code: 'ILLEGAL_TRANSITION',
    });
    await expect(engine.networks.remove('back')).rejects.toMatchObject({ code: 'NETWORK_IN_USE' });
    await web.stop({ graceMs: 0 });
    await web.start();
    await ready(web);
    expect(await inside(web, fetching('http://db:8080'))).toMatch(/^db to /);
    await engine.networks.disconnect('back', 'web');
    expect(await inside(web, fetching('http://db:8080'))).toMatch(/^failed/);
    expect((await web.inspect()).networks.map(({ name }) => name)).toEqual(['front']);
    await expect(engine.networks.disconnect('back', 'web')).rejects.toMatchObject({
      code: 'ILLEGAL_TRANSITION',
    });
    for (const container of [web, db]) await container.remove({ force: true });
    await engine.networks.remove('back');
    await expect(engine.networks.inspect('back')).rejects.toMatchObject({ code: 'NETWORK_NOT_FOUND' });
  });

  it('shares the network of another container, and its names', async () => {
    const main = await serve('main');
    const side = await engine.run(
      server('side', { network: 'container:main', command: ['-e', 'setInterval(() => {}, 1000)'] }),
    );
    expect(await inside(side, fetching('http://127.0.0.1:8080'))).toMatch(/^main to /);
    expect(await inside(side, "console.log(require('os').hostname())")).toBe(main.id.slice(0, 12));
    expect((await side.inspect()).networks).toEqual([]);
    // It follows the other to its new namespace.
    await main.stop({ graceMs: 0 });
    await main.start();
    await ready(main);
    await side.stop({ graceMs: 0 });
    await side.start();
    expect(await inside(side, fetching('http://127.0.0.1:8080'))).toMatch(/^main to /);
    await expect(engine.run(server('x', { network: 'container:nobody' }))).rejects.toMatchObject({
      code: 'CONTAINER_NOT_FOUND',
    });
    await main.stop({ graceMs: 0 });
    await expect(engine.run(server('x', { network: 'container:main' }))).rejects.toMatchObject({
      code: 'ILLEGAL_TRANSITION',
    });
    for (const container of [side, main]) await container.remove({ force: true });
  });

  it('publishes TCP and UDP on 127.0.0.1 only, unless told otherwise, and says who can reach them', async () => {
    const [local, open, udp] = [await freePort(), await freePort(), await freePort()];
    const container = await serve('published', {
      ports: [
        { hostPort: local, containerPort: 8080 },
        { hostPort: open, containerPort: 8080, hostAddress: '0.0.0.0' },
        { hostPort: udp, containerPort: 8081, protocol: 'UDP' },
      ],
    });
    const gateway = engine.network?.gateway ?? '';
    expect(await get(`http://127.0.0.1:${local}`)).toMatch(/^published to /);
    expect(await get(`http://${gateway}:${local}`)).toBe('failed');
    expect(await get(`http://127.0.0.1:${open}`)).toMatch(/^published to /);
    expect(await get(`http://${gateway}:${open}`)).toMatch(/^published to /);
    const socket = createSocket('udp4');
    const heard = new Promise<string>((resolve) =>
      socket.once('message', (message) => resolve(message.toString())),
    );
    socket.send('hello', udp, '127.0.0.1');
    expect(await heard).toBe('published heard hello');
    socket.close();
    // Hairpin: the container reaches itself, and its neighbour it, by the host's address.
    const neighbour = await serve('neighbour');
    for (const from of [container, neighbour]) {
      expect(await inside(from, fetching(`http://${gateway}:${open}`))).toMatch(/^published to /);
      expect(await inside(from, fetching(`http://${gateway}:${local}`))).toMatch(/^failed/);
    }
    expect(engine.networks.ports().map(({ hostPort, reach }) => [hostPort, reach])).toEqual([
      [local, 'machine'],
      [open, 'network'],
      [udp, 'machine'],
    ]);
    for (const each of [container, neighbour]) await each.remove({ force: true });
    expect(await get(`http://127.0.0.1:${local}`)).toBe('failed');
  });

  it('a port in use is PORT_IN_USE, whoever has it, and nothing half-made stays', async () => {
    const listener = createServer();
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const { port } = listener.address() as AddressInfo;
    const before = await traces();
    const publish = (hostPort: number, hostAddress?: string): Promise<Container> =>
      engine.run(
        server(`port${++names}`, {
          ports: [{ hostPort, containerPort: 8080, ...(hostAddress === undefined ? {} : { hostAddress }) }],
        }),
      );
    await expect(publish(port)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringContaining(String(port)),
    });
    await expect(publish(port, '0.0.0.0')).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    await expect(publish(await freePort(), '203.0.113.7')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await expect(publish(await freePort(), '::1')).rejects.toMatchObject({ code: 'NOT_SUPPORTED' });
    expect(await traces()).toEqual(before);
    listener.close();
    const free = await freePort();
    const holder = await publish(free);
    await expect(publish(free)).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    await expect(publish(free, '0.0.0.0')).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    await holder.remove({ force: true });
    await (await publish(free)).remove({ force: true });
  });

  it("the user's firewall wins over published ports (moby #4737), and unpublished ones are closed to others", async () => {
    const port = await freePort();
    const container = await serve('guarded', {
      ports: [{ hostPort: port, containerPort: 8080, hostAddress: '0.0.0.0' }],
    });
    const { address } = await container.inspect();
    // Another machine: a namespace behind a veth, with the host as its router.
    const outside = `hpo${number}`;
    const wire = `10.216.${number}`;
    const other = ['netns', 'exec', outside, process.execPath, '-e'];
    try {
      await runOrThrow('ip', ['netns', 'add', outside]);
      await runOrThrow('ip', [
        'link',
        'add',
        outside,
        'type',
        'veth',
        'peer',
        'name',
        'eth0',
        'netns',
        outside,
      ]);
      await runOrThrow('ip', ['address', 'add', `${wire}.1/24`, 'dev', outside]);
      await runOrThrow('ip', ['link', 'set', outside, 'up']);
      await runOrThrow('ip', ['-n', outside, 'address', 'add', `${wire}.2/24`, 'dev', 'eth0']);
      await runOrThrow('ip', ['-n', outside, 'link', 'set', 'eth0', 'up']);
      await runOrThrow('ip', ['-n', outside, 'route', 'add', 'default', 'via', `${wire}.1`]);
      const published = fetching(`http://${wire}.1:${port}`);
      expect(await runOrThrow('ip', [...other, published])).toMatch(/^guarded to /);
      expect(await runOrThrow('ip', [...other, fetching(`http://${address}:8080`)])).toMatch(/^failed/);
      const policy = `table ip hpuser${number} { chain forward { type filter hook forward priority filter; policy accept; oifname "${network.bridgeName}" drop\n }\n}\n`;
      await runOrThrow('nft', ['-f', '-'], { input: policy });
      expect(await runOrThrow('ip', [...other, published])).toMatch(/^failed/);
      // This machine's own programs are not forwarded, and go on.
      expect(await get(`http://127.0.0.1:${port}`)).toMatch(/^guarded to /);
    } finally {
      await run('nft', ['delete', 'table', 'ip', `hpuser${number}`]);
      await run('ip', ['netns', 'delete', outside]);
      await container.remove({ force: true });
    }
  });

  it('rules that somebody flushed, leases that got lost and those that leaked are mended when the engine is opened', async () => {
    const port = await freePort();
    const container = await serve('mended', { ports: [{ hostPort: port, containerPort: 8080 }] });
    const { address = '' } = await container.inspect();
    await engine.close();
    await runOrThrow('nft', ['delete', 'table', 'ip', `heptad-${network.bridgeName}`]);
    const leases = join(home, 'engine/network/leases/bridge');
    await rm(join(leases, address));
    await writeFile(join(leases, `10.214.${number}.77`), `${'ab'.repeat(32)}\r\neth0`);
    await writeFile(join(leases, `10.214.${number}.78`), `${container.id}\r\neth0`);
    expect(await get(`http://127.0.0.1:${port}`)).toBe('failed');
    engine = await open();
    expect(await get(`http://127.0.0.1:${port}`)).toMatch(/^mended to /);
    expect((await readdir(leases)).filter((name) => /^\d/.test(name))).toEqual([address]);
    await (await engine.container('mended')).remove({ force: true });
  });

  it('an address that a crash left to a container does not keep it from starting again', async () => {
    const container = await serve('again');
    await container.stop({ graceMs: 0 });
    const leases = join(home, 'engine/network/leases/bridge');
    await writeFile(join(leases, `10.214.${number}.90`), `${container.id}\r\neth0`);
    await container.start();
    await ready(container);
    expect((await readdir(leases)).filter((name) => /^\d/.test(name))).toHaveLength(1);
    await container.remove({ force: true });
  });

  it('refuses networks that cannot be, leaving nothing', async () => {
    const before = await traces();
    for (const spec of [
      { name: 'bridge' },
      { name: 'a b' },
      { name: 'clash', subnet: network.subnet },
      { name: 'tiny', subnet: '10.1.2.0/31' },
      { name: 'long', bridgeName: 'much-too-long-a-name' },
    ]) {
      await expect(engine.networks.create(spec), spec.name).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    }
    await createNetwork('twice');
    await expect(engine.networks.create({ name: 'twice' })).rejects.toMatchObject({ code: 'NAME_IN_USE' });
    await engine.networks.remove('twice');
    expect(await traces()).toEqual(before);
  });

  it('a spec chooses its name servers, search domains and options', async () => {
    const dns = { servers: ['192.0.2.1'], search: ['shop.test'], options: ['ndots:2'] };
    const container = await engine.run(
      server('resolver', { dns, network: 'none', command: ['-e', 'setInterval(() => {}, 1000)'] }),
    );
    expect(
      await inside(container, "console.log(require('fs').readFileSync('/etc/resolv.conf', 'utf8'))"),
    ).toBe('nameserver 192.0.2.1\nsearch shop.test\noptions ndots:2');
    await container.remove({ force: true });
  });

  it('nothing answers at the host for a container that asks its loopback by the bridge', async () => {
    const listener = createServer((socket) => socket.end('host'));
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const { port } = listener.address() as AddressInfo;
    const container = await engine.run(
      server('spoofer', {
        user: '0',
        capabilities: { add: ['NET_RAW', 'NET_ADMIN'] },
        ports: [{ hostPort: await freePort(), containerPort: 8080 }],
      }),
    );
    const { pid } = await container.inspect();
    const enter = ['-t', String(pid), '-n'];
    // What a container with network capabilities could do: send 127.0.0.1 out by the gateway.
    await runOrThrow('nsenter', [...enter, 'ip', 'route', 'flush', 'table', 'local']);
    await runOrThrow('nsenter', [
      ...enter,
      'ip',
      'route',
      'replace',
      '127.0.0.1/32',
      'via',
      engine.network?.gateway ?? '',
      'dev',
      'eth0',
    ]);
    const said = await run('nsenter', [
      ...enter,
      process.execPath,
      '-e',
      `const s = require('net').connect(${port}, '127.0.0.1'); s.setTimeout(1500, () => { console.log('silence'); process.exit() }); s.on('data', (d) => console.log(String(d))); s.on('error', (e) => console.log(e.code))`,
    ]);
    expect(said.stdout).not.toContain('host');
    listener.close();
    await container.remove({ force: true });
  });
});
