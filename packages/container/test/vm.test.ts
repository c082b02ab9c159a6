// Virtual machines beside containers in one engine: reached over one network, snapshots, clones, limits, survival.

import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildNodeImage, type Container, ContainerEngine } from '@heptad/container';
import { isHeptadError } from '@heptad/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leftovers, noContainers, temporaryDirectory } from './support.ts';
import { noMachines } from './vm-support.ts';

const MIB = 1024 * 1024;
const number = process.pid % 200;
const SERVER = `
import { createServer } from 'node:http';
import { hostname, release } from 'node:os';
createServer((request, response) => {
  response.end(JSON.stringify({ release: release(), hostname: hostname(), path: request.url }));
}).listen(8080, () => console.log('listening'));
`;

let home: string;
let engine: ContainerEngine;
let machine: Container;

async function open(): Promise<ContainerEngine> {
  return await ContainerEngine.open({
    home,
    runtime: 'oci',
    network: { bridgeName: `hpv${number}`, subnet: `10.213.${number}.0/24`, masquerade: false },
    machines: { memoryBytes: 256 * MIB, diskBytes: 1024 * MIB },
  });
}

/** What a command in a container says. */
async function said(container: Container, ...command: string[]): Promise<string> {
  const session = await container.exec({ command });
  const chunks: Uint8Array[] = [];
  for await (const chunk of session.stdout) chunks.push(chunk);
  const errors: Uint8Array[] = [];
  for await (const chunk of session.stderr) errors.push(chunk);
  expect(await session.exit, Buffer.concat(errors).toString()).toBe(0);
  return Buffer.concat(chunks).toString();
}

const node = (container: Container, script: string): Promise<string> => said(container, 'node', '-e', script);

async function listening(container: Container): Promise<void> {
  for await (const line of container.logs({ follow: true })) if (line.text === 'listening') return;
}

describe.skipIf(noMachines !== undefined || noContainers !== undefined)('virtual machines', () => {
  beforeAll(async () => {
    home = await temporaryDirectory();
    const app = join(home, 'app');
    await mkdir(app);
    await mkdir(join(home, 'shared'));
    await writeFile(join(home, 'shared', 'greeting'), 'from the host');
    await writeFile(join(app, 'main.mjs'), SERVER);
    engine = await open();
    await buildNodeImage({ images: engine.images, name: 'server', directory: app, main: 'main.mjs' });
    machine = await engine.run({
      name: 'machine',
      image: 'server',
      runtime: 'vm',
      user: '0:0',
      ports: [{ hostPort: 18_000 + number, containerPort: 8080 }],
      limits: { memoryBytes: 256 * MIB, cpuset: '0' },
      mounts: [{ type: 'bind', source: join(home, 'shared'), target: '/shared', readOnly: true }],
    });
    await listening(machine);
  }, 300_000);

  afterAll(async () => {
    for (const { id } of await engine.runtime.list()) await engine.runtime.remove(id, { force: true });
    await engine.network?.removeBridge();
    await engine.close();
    await rm(home, { recursive: true, force: true });
  }, 60_000);

  it('run on a kernel of their own, and say so', async () => {
    const info = await machine.inspect();
    expect(info.isolation).toBe('vm');
    const host = (await promisify(execFile)('uname', ['-r'])).stdout.trim();
    const answer = JSON.parse(await (await fetch(`http://${info.address}:8080/x`)).text());
    expect(answer.path).toBe('/x');
    expect(answer.release).toMatch(/cloud/);
    expect(answer.release).not.toBe(host);
    const { machine: facts } = (await engine.machines?.inspect(machine.id)) ?? {};
    expect(['hardware-assisted', 'full']).toContain(facts?.virtualization);
    expect(facts?.devices).toBe('para');
    expect(facts?.host.residentBytes).toBeGreaterThan(50 * MIB);
  }, 60_000);

  it('are reached by a container of the same network, and through a published port', async () => {
    const container = await engine.run({ name: 'container', image: 'server' });
    await listening(container);
    expect((await container.inspect()).isolation).toBe('container');
    const { address } = await machine.inspect();
    const over = await node(
      container,
      `fetch('http://${address}:8080/over').then((r) => r.json()).then((r) => console.log(r.path, r.release))`,
    );
    expect(over).toMatch(/^\/over .*cloud/);
    const back = await node(
      machine,
      `fetch('http://${(await container.inspect()).address}:8080/back').then((r) => r.json()).then((r) => console.log(r.path))`,
    );
    expect(back).toBe('/back\n');
    expect(await (await fetch(`http://127.0.0.1:${18_000 + number}/port`)).json()).toMatchObject({
      path: '/port',
    });
    await container.remove({ force: true });
  }, 120_000);

  it('see directories of the host, read-only when asked, whatever their kernel says', async () => {
    expect(await node(machine, `console.log(require('fs').readFileSync('/shared/greeting', 'utf8'))`)).toBe(
      'from the host\n',
    );
    const refused = await node(
      machine,
      `try { require('fs').writeFileSync('/shared/new', '') } catch (e) { console.log(e.code) }`,
    );
    expect(refused).toBe('EROFS\n');
  }, 60_000);

  it('give memory back while they run, and keep their CPUs to those they were pinned to', async () => {
    const free = async (): Promise<number> =>
      Number(
        /MemAvailable:\s+(\d+)/.exec(
          await node(machine, `console.log(require('fs').readFileSync('/proc/meminfo', 'utf8'))`),
        )?.[1],
      );
    const before = await free();
    await machine.update({ memoryBytes: 160 * MIB });
    expect((await machine.stats()).memoryLimitBytes).toBe(160 * MIB);
    // What the balloon holds is the host's again: the guest's kernel has that much less.
    await expect.poll(free, { timeout: 30_000 }).toBeLessThan(before - 64 * 1024);
    await expect(machine.update({ memoryBytes: 1024 * MIB })).rejects.toSatisfy((error) =>
      isHeptadError(error, 'NOT_SUPPORTED'),
    );
    await machine.update({ memoryBytes: 256 * MIB });
    const { pid } = await machine.inspect();
    const { stdout } = await promisify(execFile)('sh', [
      '-c',
      `grep -h Cpus_allowed_list /proc/${pid}/task/*/status`,
    ]);
    expect(stdout).toMatch(/:\t0$/m);
  }, 120_000);

  it('are kept in snapshots and cloned while they run, and put back when they are stopped', async () => {
    const machines = engine.machines;
    if (machines === undefined) throw new Error('the engine has no machines');
    await node(machine, `require('fs').writeFileSync('/kept', 'one')`);
    await machines.snapshot(machine.id, 'first');
    await node(machine, `require('fs').writeFileSync('/kept', 'two')`);
    expect((await machines.snapshots(machine.id)).map((each) => each.name)).toEqual(['first']);
    await expect(machines.snapshot(machine.id, 'first')).rejects.toSatisfy((error) =>
      isHeptadError(error, 'NAME_IN_USE'),
    );
    const clone = await engine.container(await machines.clone(machine.id, { name: 'clone' }));
    await machine.stop({ graceMs: 100 });
    await machines.restore(machine.id, 'first');
    await clone.start();
    expect(await node(clone, `console.log(require('fs').readFileSync('/kept', 'utf8'))`)).toBe('two\n');
    await clone.remove({ force: true });
    await machine.start();
    expect(await node(machine, `console.log(require('fs').readFileSync('/kept', 'utf8'))`)).toBe('one\n');
    await machines.deleteSnapshot(machine.id, 'first');
    expect(await machines.snapshots(machine.id)).toEqual([]);
  }, 300_000);

  it('outlive the engine, are adopted again, and leave nothing when removed', async () => {
    const { pid } = await machine.inspect();
    await engine.close();
    expect(await readFile(`/proc/${pid}/comm`, 'utf8')).toMatch(/^qemu-system/);
    engine = await open();
    machine = await engine.container('machine');
    expect((await machine.inspect()).pid).toBe(pid);
    expect(await node(machine, `console.log('still here')`)).toBe('still here\n');
    const { id } = machine;
    await machine.remove({ force: true });
    expect(await leftovers(home, id)).toEqual([]);
  }, 120_000);
});
