// Shared by the integration tests: one image store for all of them, fresh runtimes, and a look for what a container left.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildNodeImage, CniBridgeNetwork, ImageStore, OciRuntime, ProcessRuntime } from '@heptad/container';
import { probeOci } from '../src/oci/probe.ts';
import { readTextIfAny } from '../src/system/files.ts';

export const IMAGE = 'heptad-test/node:24';

/** Why containers cannot be tested here; undefined when they can. With CI=true a missing runtime is a failure. */
export const noContainers: string | undefined = await whyNot();

async function whyNot(): Promise<string | undefined> {
  const probe = await probeOci();
  if (probe.ok) return undefined;
  const why = probe.reasons.join('; ');
  if (process.env.CI === 'true') throw new Error(`containers must work in CI: ${why}`);
  process.stderr.write(`skipped, containers do not work here: ${why}\n`);
  return why;
}

/** A directory that is removed with the test. */
export async function temporaryDirectory(): Promise<string> {
  return await mkdtemp(join(tmpdir(), 'heptad-test-'));
}

/** A store with {@link IMAGE}. */
export async function testImages(home: string): Promise<ImageStore> {
  const app = join(home, 'app');
  await mkdir(app, { recursive: true });
  await writeFile(join(app, 'main.mjs'), 'console.log("ready"); setInterval(() => {}, 1000);\n');
  const images = await ImageStore.open({ home: join(home, 'images') });
  await buildNodeImage({ images, name: IMAGE, directory: app, main: 'main.mjs', user: '0:0' });
  return images;
}

// Every process that runs tests gets its own bridge and subnet, so that two runs at once do not meet.
// A starter process of a test uses the test's.
const number = Number(process.env.HEPTAD_TEST_NUMBER ?? process.pid) % 200;

/** A bridge of this test process. */
export function testNetwork(home: string, options: { isolated?: boolean } = {}): CniBridgeNetwork {
  return new CniBridgeNetwork({
    directory: join(home, 'network'),
    bridgeName: `hpt${number}`,
    subnet: `10.211.${number}.0/24`,
    masquerade: false,
    ...options,
  });
}

/** Opens an OCI runtime in `home` with a network of its own. */
export async function openOci(home: string, images: ImageStore): Promise<OciRuntime> {
  return await OciRuntime.open({ home: join(home, 'oci'), images, networks: [testNetwork(home)] });
}

/** Opens a process runtime in `home`. */
export async function openProcess(home: string, images: ImageStore): Promise<ProcessRuntime> {
  return await ProcessRuntime.open({ home: join(home, 'process'), images });
}

/** What the machine still has of containers: lines that name each thing. Empty means that nothing leaked. */
export async function leftovers(home: string, id = ''): Promise<string[]> {
  const found: string[] = [];
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  const short = id.slice(0, 32);
  for (const line of mounts) {
    const point = line.split(' ')[4] ?? '';
    if (point.startsWith(`${home}/`) && point.includes(id)) found.push(`mount ${point}`);
  }
  for (const name of await namesIn('/run/netns')) {
    if (id !== '' && name.includes(short)) found.push(`network namespace ${name}`);
  }
  for (const controller of await namesIn('/sys/fs/cgroup')) {
    for (const name of await namesIn(join('/sys/fs/cgroup', controller, 'heptad'))) {
      if (id !== '' && name === id) found.push(`cgroup ${controller} ${name}`);
    }
  }
  for (const place of [
    'network/attachments',
    'oci/state',
    'oci/exits',
    'oci/containers',
    'process/containers',
    'process/exits',
  ]) {
    for (const name of await namesIn(join(home, place)))
      if (name.includes(id)) found.push(`${place}/${name}`);
  }
  for (const place of ['network/leases/bridge', 'process/addresses']) {
    for (const name of await namesIn(join(home, place))) {
      const owner = (await readTextIfAny(join(home, place, name))) ?? '';
      if (/^[0-9.]+$/.test(name) && owner.includes(id)) found.push(`address ${name}`);
    }
  }
  for (const pid of await namesIn('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const text = `${await readTextIfAny(`/proc/${pid}/cmdline`)}${await readTextIfAny(`/proc/${pid}/environ`)}`;
    if (id !== '' ? text.includes(id) : text.includes(home)) found.push(`process ${pid}`);
  }
  return found;
}

async function namesIn(path: string): Promise<string[]> {
  return await readdir(path).catch(() => []);
}

/** Removes every container of a runtime, then its directory. */
export async function tearDown(runtime: OciRuntime | ProcessRuntime, home: string): Promise<void> {
  for (const { id } of await runtime.list()) await runtime.remove(id, { force: true });
  await runtime[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
}
