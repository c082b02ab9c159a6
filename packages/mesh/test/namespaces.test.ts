// The proxy as on a node: virtual addresses on a device of their own, callers and servers in network namespaces of their own.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import type { MeshSnapshot } from '@heptad/core';
import { linuxAddresses, NodeProxy } from '@heptad/mesh';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from './fixtures.ts';

const run = promisify(execFile);
const ip = (...argv: string[]): Promise<{ stdout: string }> => run('ip', argv);
const tag = process.pid.toString(36).slice(-4);
const bridge = `hmb${tag}`;
const device = `hmv${tag}`;
const octet = 10 + (process.pid % 200);
const subnet = `10.249.${octet}`;
const virtual = `10.248.${octet}.7`;
const names = ['shop', 'thief', 'web'] as const;
const addressOf = (index: number): string => `${subnet}.${10 + index}`;

const canRun =
  process.getuid?.() === 0 &&
  (await ip('-V').then(
    () => true,
    () => false,
  ));
if (!canRun && process.env.CI === 'true') throw new Error('network namespaces need root and iproute2');

const children: ChildProcess[] = [];
let proxy: NodeProxy;

async function makeNetwork(): Promise<void> {
  await ip('link', 'add', bridge, 'type', 'bridge');
  await ip('addr', 'add', `${subnet}.1/24`, 'dev', bridge);
  await ip('link', 'set', bridge, 'up');
  for (const [index, name] of names.entries()) {
    const ns = `${name}${tag}`;
    await ip('netns', 'add', ns);
    await ip('link', 'add', `hm${index}${tag}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', ns);
    await ip('link', 'set', `hm${index}${tag}`, 'master', bridge, 'up');
    await ip('-n', ns, 'addr', 'add', `${addressOf(index)}/24`, 'dev', 'eth0');
    await ip('-n', ns, 'link', 'set', 'eth0', 'up');
    await ip('-n', ns, 'link', 'set', 'lo', 'up');
    await ip('-n', ns, 'route', 'add', 'default', 'via', `${subnet}.1`);
  }
}

async function removeNetwork(): Promise<void> {
  for (const name of names) await ip('netns', 'del', `${name}${tag}`).catch(() => {});
  for (const link of [bridge, device]) await ip('link', 'del', link).catch(() => {});
}

/** A server in a namespace that answers who called it. */
async function serveIn(name: string, port: number): Promise<void> {
  const code = `require('http').createServer((q,s)=>s.end(JSON.stringify({host:q.headers.host,from:q.headers['x-forwarded-for'],trace:q.headers.traceparent}))).listen(${port},()=>console.log('up'))`;
  const child = spawn('ip', ['netns', 'exec', `${name}${tag}`, process.execPath, '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once('data', resolve));
}

/** A GET from inside a namespace. */
async function getFrom(name: string, url: string): Promise<{ status: number; body: Record<string, string> }> {
  const code = `fetch('${url}').then(async r=>console.log(JSON.stringify({status:r.status,body:await r.json()})),e=>console.log(JSON.stringify({status:0,body:{error:String(e.cause)}})))`;
  const { stdout } = await run('ip', ['netns', 'exec', `${name}${tag}`, process.execPath, '-e', code]);
  return JSON.parse(stdout);
}

function snapshot(policies: MeshSnapshot['policies'] = []): MeshSnapshot {
  return {
    revision: 1,
    services: [
      {
        name: 'web',
        virtualAddress: virtual,
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        labels: {},
        mode: 'http',
      },
    ],
    endpoints: [
      {
        service: 'web',
        version: 1,
        endpoints: [{ id: 'web-0', address: addressOf(2), ports: { http: 8080 }, weight: 1, state: 'ready' }],
      },
    ],
    policies,
    rules: [],
    workloads: {
      [addressOf(0)]: { service: 'shop', labels: {} },
      [addressOf(1)]: { service: 'thief', labels: {} },
      [addressOf(2)]: { service: 'web', labels: {} },
    },
  };
}

async function addressesOfDevice(): Promise<string> {
  return (await ip('-o', '-4', 'addr', 'show', 'dev', device).catch(() => ({ stdout: '' }))).stdout;
}

describe.skipIf(!canRun)('a node with namespaces', () => {
  beforeAll(async () => {
    await makeNetwork();
    await serveIn('web', 8080);
    proxy = new NodeProxy({ addresses: linuxAddresses({ device, create: true }) });
    await proxy.apply(snapshot());
  });

  afterAll(async () => {
    await proxy?.close();
    for (const child of children) child.kill('SIGKILL');
    await removeNetwork();
  });

  it('containers reach the service at its virtual address, which exists only while the proxy does', async () => {
    expect(await addressesOfDevice()).toContain(`${virtual}/32`);
    const answer = await getFrom('shop', `http://${virtual}:8080/`);
    expect(answer).toMatchObject({ status: 200, body: { host: `${virtual}:8080`, from: addressOf(0) } });
    expect(answer.body.trace).toMatch(/^00-[0-9a-f]{32}-/);
  });

  it('a policy tells callers apart by their source address', async () => {
    const onlyShop = {
      selector: { service: 'web' },
      ingress: [{ peers: [{ service: 'shop' }], ports: [{ port: 8080, protocol: 'TCP' as const }] }],
    };
    await proxy.apply(snapshot([{ name: 'only-shop', spec: onlyShop }]));
    expect((await getFrom('shop', `http://${virtual}:8080/`)).status).toBe(200);
    const refused = await getFrom('thief', `http://${virtual}:8080/`);
    expect(refused.status).toBe(403);
    expect(refused.body.detail).toContain('service thief');
    const noEgress = {
      selector: { service: 'shop' },
      egress: [{ peers: [{ cidr: '192.0.2.0/24' }], ports: [] }],
    };
    await proxy.apply(snapshot([{ name: 'no-egress', spec: noEgress }]));
    expect((await getFrom('shop', `http://${virtual}:8080/`)).body.detail).toContain(
      'no egress rule of policy no-egress',
    );
    await proxy.apply(snapshot());
  });

  it('a proxy that was killed leaves its addresses, and the next one adopts and removes them', async () => {
    await proxy.close();
    expect(await addressesOfDevice()).toBe('');
    const killed = linuxAddresses({ device, create: true });
    await killed.sync(new Set([virtual, `10.248.${octet}.8`]));
    // Somebody else's address on the same device is none of ours.
    await ip('addr', 'add', `10.248.${octet}.99/32`, 'dev', device);
    const next = linuxAddresses(device);
    await next.sync(new Set([virtual]));
    expect(await addressesOfDevice()).toContain(`${virtual}/32`);
    expect(await addressesOfDevice()).not.toContain(`10.248.${octet}.8/32`);
    await next.sync(new Set([virtual]));
    await next.close();
    expect(await addressesOfDevice()).not.toContain(`${virtual}/32`);
    expect(await addressesOfDevice()).toContain(`10.248.${octet}.99/32`);
  });

  it('a device that is missing is a problem in status, and is used as soon as it is there', async () => {
    await ip('link', 'del', device).catch(() => {});
    proxy = new NodeProxy({ addresses: linuxAddresses(device) });
    await proxy.apply(snapshot());
    expect(proxy.status().problems.join(' ')).toContain(`on device ${device}`);
    await ip('link', 'add', device, 'type', 'bridge');
    await ip('link', 'set', device, 'up');
    // A container network's plugin comes second here, and must find the device as it left it.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(await addressesOfDevice()).toBe('');
    expect(proxy.status().problems.join(' ')).toContain('no address of its own yet');
    await ip('addr', 'add', `10.248.${octet}.1/24`, 'dev', device);
    await until('listening', () => proxy.status().problems.length === 0);
    expect((await getFrom('shop', `http://${virtual}:8080/`)).status).toBe(200);
  });
});
