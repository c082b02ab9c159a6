// Containers outlive kill -9 of the process that started them, and the next one takes over with nothing lost or leaked.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageStore } from '@heptad/container';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { identify } from '../src/system/processes.ts';
import {
  IMAGE,
  leftovers,
  noContainers,
  openOci,
  openProcess,
  tearDown,
  temporaryDirectory,
  testImages,
  testNetwork,
} from './support.ts';

let base: string;
let images: ImageStore;
let home: string;

beforeAll(async () => {
  base = await temporaryDirectory();
  images = await testImages(base);
});

afterAll(async () => {
  if (noContainers === undefined) await testNetwork(base).removeBridge();
  await rm(base, { recursive: true, force: true });
});

beforeEach(async () => {
  home = await temporaryDirectory();
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

/** Runs `source` with `runtime` in scope in a process of its own; resolves when it prints "ready", with its pid. */
async function starter(kind: 'oci' | 'process', source: string): Promise<ChildProcess> {
  const script = join(home, 'starter.mts');
  await mkdir(home, { recursive: true });
  const support = join(import.meta.dirname, 'support.ts');
  await writeFile(
    script,
    `import { ImageStore } from ${JSON.stringify(join(import.meta.dirname, '../src/index.ts'))};
     import { openOci, openProcess } from ${JSON.stringify(support)};
     const images = await ImageStore.open({ home: ${JSON.stringify(images.home)} });
     const runtime = await ${kind === 'oci' ? 'openOci' : 'openProcess'}(${JSON.stringify(home)}, images);
     const spec = (name, source) => ({ name, image: ${JSON.stringify(IMAGE)}, entrypoint: ['node'], command: ['-e', source] });
     ${source}
     console.log('ready');
     setInterval(() => {}, 1000);`,
  );
  const child = spawn(process.execPath, ['--conditions=heptad-source', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, HEPTAD_TEST_NUMBER: String(process.pid) },
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      if (chunk.toString().includes('ready')) resolve();
    });
    child.once('exit', (code) => reject(new Error(`the starter ended with ${code}`)));
  });
  return child;
}

async function kill9(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

for (const kind of ['oci', 'process'] as const) {
  const open = kind === 'oci' ? openOci : openProcess;
  describe.skipIf(kind === 'oci' && noContainers !== undefined)(
    `kill -9 of the starter, ${kind} runtime`,
    () => {
      it('running containers run on, are adopted, and their logs and exit codes are whole', async () => {
        const child = await starter(
          kind,
          `const tick = await runtime.create(spec('tick', 'let n = 0; setInterval(() => { console.log(n++); if (n === 30) process.exit(21) }, 100)'));
         await runtime.start(tick);
         const quick = await runtime.create(spec('quick', 'setTimeout(() => { console.log("bye"); process.exit(9) }, 400)'));
         await runtime.start(quick);
         await runtime.create(spec('waiting', 'process.exit(3)'));`,
        );
        await kill9(child);
        await sleep(1_000);
        const runtime = await open(home, images);
        try {
          const adopted = new Map((await runtime.recover()).map((info) => [info.name, info]));
          expect(adopted.get('tick')?.state).toBe('running');
          expect(identify(adopted.get('tick')?.pid ?? 0)).toBeDefined();
          expect(adopted.get('quick')?.state).toBe('stopped');
          expect(adopted.get('quick')?.exit?.exitCode).toBe(9);
          expect(adopted.get('waiting')?.state).toBe('created');
          const lines: string[] = [];
          for await (const { text } of runtime.logs('tick', { follow: true })) lines.push(text);
          expect(lines).toEqual(Array.from({ length: 30 }, (_, index) => String(index)));
          expect((await runtime.wait('tick')).exitCode).toBe(21);
          await runtime.start('waiting');
          expect((await runtime.wait('waiting')).exitCode).toBe(3);
          const types = await firstEvents(runtime.events({ since: 0 }), 'waiting');
          expect(types).toEqual(['create', 'start', 'die']);
        } finally {
          const ids = (await runtime.list()).map(({ id }) => id);
          for (const id of ids) await runtime.remove(id, { force: true });
          for (const id of ids) expect(await leftovers(home, id)).toEqual([]);
          await tearDown(runtime, home);
        }
      });

      it('a restart that was due is caught up with, and a stop that was under way is not undone', async () => {
        const child = await starter(
          kind,
          `const again = await runtime.create({ ...spec('again', 'process.exit(5)'), restart: { policy: 'always' } });
         await runtime.start(again);
         while ((await runtime.inspect(again)).restartCount < 4) await new Promise((resolve) => setTimeout(resolve, 20));
         const stopping = await runtime.create({ ...spec('stopping', 'process.on("SIGTERM", () => setTimeout(() => process.exit(6), 1500)); setInterval(() => {}, 1000); console.log("up")'), restart: { policy: 'always' } });
         await runtime.start(stopping);
         for await (const line of runtime.logs(stopping, { follow: true })) if (line.text === 'up') break;
         runtime.stop(stopping, { graceMs: 60000 });
         await new Promise((resolve) => setTimeout(resolve, 300));`,
        );
        await kill9(child);
        await sleep(2_500);
        const runtime = await open(home, images);
        try {
          await runtime.recover();
          const stopped = await runtime.inspect('stopping');
          expect(stopped).toMatchObject({ state: 'stopped', exitedBy: 'stop', exit: { exitCode: 6 } });
          expect(stopped.restartAt).toBeUndefined();
          for (let look = 0; look < 200 && (await runtime.inspect('again')).restartCount < 5; look += 1)
            await sleep(50);
          expect((await runtime.inspect('again')).restartCount).toBeGreaterThanOrEqual(5);
          await runtime.stop('again', { graceMs: 0 });
        } finally {
          for (const { id } of await runtime.list()) await runtime.remove(id, { force: true });
          await tearDown(runtime, home);
        }
      });

      it('a death in the middle of creating leaves nothing after recovery', async () => {
        for (const afterMs of [5, 20, 40, 60, 90]) {
          const child = await starter(
            kind,
            `runtime.create(spec('half', 'setInterval(() => {}, 1000)'));
           await new Promise((resolve) => setTimeout(resolve, ${afterMs}));`,
          );
          await kill9(child);
          const runtime = await open(home, images);
          const left = await runtime.recover();
          // It died before the creation was complete, and then nothing is left; or after, and then it is whole.
          for (const { id } of left) await runtime.remove(id, { force: true });
          await runtime[Symbol.asyncDispose]();
          // The shim of a creation that was under way ends by itself a moment later.
          for (let wait = 0; wait < 50 && (await everything()).length > 0; wait += 1) await sleep(100);
          expect(await everything()).toEqual([]);
        }
      });
    },
  );
}

async function everything(): Promise<string[]> {
  return await leftovers(home);
}

async function firstEvents(
  events: AsyncIterable<{ name: string; type: string }>,
  name: string,
): Promise<string[]> {
  const types: string[] = [];
  for await (const event of events) {
    if (event.name !== name) continue;
    types.push(event.type);
    if (event.type === 'die') break;
  }
  return types;
}

describe('one home, one owner', () => {
  it('refuses a second process with HOME_IN_USE, and lets the next one in after kill -9', async () => {
    const child = await starter('process', '');
    await expect(openProcess(home, images)).rejects.toMatchObject({ code: 'HOME_IN_USE' });
    await kill9(child);
    const runtime = await openProcess(home, images);
    expect(await runtime.list()).toEqual([]);
    await runtime[Symbol.asyncDispose]();
  });
});
