// Stopped at any step of any operation, the image store is whole: killed, out of space, read-only, or cut from power.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageStore } from '@heptad/container';
import { SeededRandom } from '@heptad/core/sim';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkStore } from '../src/image/check-store.ts';
import { run, runOrThrow } from '../src/system/command.ts';
import {
  type Cut,
  DiskModel,
  EVERYTHING,
  NAMES_WITHOUT_BYTES,
  NOTHING_UNSYNCED,
  someOf,
} from './crash/disk-model.ts';
import type { JournalEntry } from './crash/interposer.ts';
import { addRawImage } from './layer-images.ts';
import { rawTar } from './raw-tar.ts';
import { temporaryDirectory } from './support.ts';

const SCENARIOS = ['build', 'ingest', 'load', 'unpack', 'commit', 'collect'] as const;
const isRoot = process.getuid?.() === 0;
// Each real stop is two processes; the model stops at every step of every scenario. HEPTAD_CRASH_STOPS=1000 makes real
// stops at every step, too.
const REAL_STOPS = Number(process.env.HEPTAD_CRASH_STOPS ?? 12);
const PARALLEL = 2;
// What run() answers for a process that a signal ended.
const DEATH_BY_SIGNAL = 128;
const HERE = import.meta.dirname;

let base: string;
const journals = new Map<string, JournalEntry[]>();

async function child(
  scenario: string,
  home: string,
  part: 'before' | 'run',
  crash?: string,
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const preload = part === 'run' ? ['--import', join(HERE, 'crash/interposer.ts')] : [];
  return await run(
    process.execPath,
    ['--conditions=heptad-source', ...preload, join(HERE, 'crash/scenario.ts'), scenario, home, part],
    {
      timeoutMs: 60_000,
      env: { HEPTAD_CRASH_ROOT: home, ...(crash === undefined ? {} : { HEPTAD_CRASH: crash }) },
    },
  );
}

/** A copy of what a scenario starts from, at the same path in every run: paths are part of what is written. */
async function fresh(scenario: string, name: string): Promise<string> {
  const home = join(base, `${scenario}-${name}`);
  await rm(home, { recursive: true, force: true });
  // Not by Node: it would open the whiteouts.
  await runOrThrow('cp', ['-a', join(base, `${scenario}-before`), home]);
  return home;
}

/** What must hold after any stop: nothing is damaged, and the store goes on as if nothing had been. */
async function expectWhole(home: string, what: string, goesOn = true): Promise<void> {
  const images = await ImageStore.open({ home: join(home, 'images') });
  const { damage } = await checkStore(images, { deep: true });
  expect(damage, what).toEqual([]);
  if (!goesOn) return;
  for (const { name } of await images.list()) if (isRoot) await images.unpack(name);
  await images.gc({ minimumAgeMs: -60_000 });
  expect((await checkStore(images, { deep: true })).damage, `${what}, collected`).toEqual([]);
  expect(await readdir(join(home, 'images/content/ingest')), what).toEqual([]);
  const left = (await readdir(join(home, 'images/snapshots'))).filter((name) => name.startsWith('tmp-'));
  expect(left, what).toEqual([]);
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

/** At most so many of 1..count, the ends among them. */
function spread(count: number, most: number): number[] {
  const stride = Math.max(1, Math.ceil(count / most));
  return Array.from({ length: count }, (_, index) => index + 1).filter(
    (step) => (step - 1) % stride === 0 || step === count,
  );
}

beforeAll(async () => {
  base = await temporaryDirectory();
  await inParallel(SCENARIOS, async (scenario) => {
    const before = join(base, `${scenario}-before`);
    await mkdir(before);
    const made = await child(scenario, before, 'before');
    expect(made.exitCode, made.stderr).toBe(0);
    const home = await fresh(scenario, 'record');
    const file = join(base, `${scenario}.journal`);
    const recorded = await child(scenario, home, 'run', `record ${file}`);
    expect(recorded.stdout, recorded.stderr).toContain('done');
    const lines = (await readFile(file, 'utf8')).split('\n');
    journals.set(
      scenario,
      lines.map((line) => JSON.parse(line) as JournalEntry),
    );
  });
}, 300_000);

afterAll(async () => {
  await rm(base, { recursive: true, force: true });
});

describe.skipIf(!isRoot)('the image store survives', () => {
  for (const scenario of SCENARIOS) {
    it(`kill -9 during ${scenario}`, { timeout: 600_000 }, async () => {
      const count = journals.get(scenario)?.length ?? 0;
      await inParallel(spread(count, REAL_STOPS), async (step) => {
        const home = await fresh(scenario, `kill-${step}`);
        const { exitCode, stdout } = await child(scenario, home, 'run', `kill ${step}`);
        // What runs side by side may take a step less than when it was counted; then it ended before this one.
        const steps = Number(/^done (\d+)\n$/.exec(stdout)?.[1] ?? Number.POSITIVE_INFINITY);
        if (steps >= step)
          expect([exitCode, stdout], `${scenario} was to die at step ${step}`).toEqual([DEATH_BY_SIGNAL, '']);
        await expectWhole(home, `${scenario} killed at step ${step} of ${count}`);
        // And what was stopped can be done now.
        const again = await child(scenario, home, 'run', 'record');
        expect(again.stdout, again.stderr).toContain('done');
        await rm(home, { recursive: true });
      });
    });

    it(`a full and a read-only disk during ${scenario}`, { timeout: 600_000 }, async () => {
      const count = journals.get(scenario)?.length ?? 0;
      await inParallel(spread(count, Math.ceil(REAL_STOPS / 2)), async (step) => {
        for (const [errno, code] of [
          ['ENOSPC', 'NO_SPACE'],
          ['EROFS', 'READ_ONLY'],
        ]) {
          const home = await fresh(scenario, `fail-${step}`);
          const { stdout, stderr } = await child(scenario, home, 'run', `fail ${step} ${errno}`);
          expect(stdout, `${scenario} at step ${step}, ${errno}: ${stderr}`).toMatch(
            new RegExp(`^(failed ${code}|done \\d+)\n$`),
          );
          await expectWhole(home, `${scenario} with ${errno} at step ${step} of ${count}`);
          await rm(home, { recursive: true });
        }
      });
    });

    it(`a power cut at every step of ${scenario}`, { timeout: 600_000 }, async () => {
      const journal = journals.get(scenario) ?? [];
      const random = new SeededRandom(1);
      const cuts: Record<string, Cut> = {
        'a kill': EVERYTHING,
        'nothing unsynced': NOTHING_UNSYNCED,
        'names without bytes': NAMES_WITHOUT_BYTES,
        'some of it': someOf(() => random.next()),
        'others of it': someOf(() => random.next()),
      };
      const recorded = join(base, `${scenario}-record`);
      const model = new DiskModel(join(base, `${scenario}-before`));
      for (const [index, entry] of journal.entries()) {
        model.apply(relocate(entry, recorded, join(base, `${scenario}-before`)));
        // Its layers are megabytes, to be written and read for each state.
        if (scenario === 'build' && index % 5 !== 0) continue;
        for (const [name, cut] of Object.entries(cuts)) {
          const home = join(base, `cut-${scenario}`);
          await rm(home, { recursive: true, force: true });
          await mkdir(home);
          model.writeTo(home, cut);
          // Every state is looked through; that work goes on from it is tried on some, for it takes a hundred times longer.
          await expectWhole(
            home,
            `${scenario} cut after step ${index + 1} (${entry.op}), ${name}`,
            index % 12 === 0,
          );
        }
      }
    });
  }
});

/** A journal's paths are those of the run that was recorded. */
function relocate(entry: JournalEntry, from: string, to: string): JournalEntry {
  return JSON.parse(JSON.stringify(entry).replaceAll(from, to)) as JournalEntry;
}

describe.skipIf(!isRoot)('a disk that is really full, or really read-only', () => {
  it('is told as such, leaves nothing half made, and is fine with more room', async () => {
    const disk = join(base, 'tmpfs');
    await mkdir(disk);
    await runOrThrow('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk]);
    try {
      const source = await ImageStore.open({ home: join(base, 'source') });
      const content = randomBytes(2_000_000);
      await addRawImage(source, 'large', [
        { archive: rawTar({ name: 'f', content }, { name: 'g', content }) },
      ]);
      await addRawImage(source, 'small', [{ archive: rawTar({ name: 'f', content: 'x' }) }]);
      const [large, small] = [join(base, 'large.tar'), join(base, 'small.tar')];
      await source.save(['large'], large);
      await source.save(['small'], small);
      const images = await ImageStore.open({ home: join(disk, 'images') });
      await images.load(small);
      await expect(images.load(large)).rejects.toMatchObject({ code: 'NO_SPACE' });
      expect((await images.list()).map(({ name }) => name)).toEqual(['small:latest']);
      await expectWhole(disk, 'full while loading');
      // Room for what is stored, not for what is unpacked.
      await runOrThrow('mount', ['-o', 'remount,size=6m', disk]);
      await images.load(large);
      await expect(images.unpack('large')).rejects.toMatchObject({ code: 'NO_SPACE' });
      expect((await checkStore(images, { deep: true })).damage).toEqual([]);
      const half = (await readdir(join(disk, 'images/snapshots'))).filter((name) => name.startsWith('tmp-'));
      expect(half).toEqual([]);
      await runOrThrow('mount', ['-o', 'remount,size=16m', disk]);
      await images.unpack('large');
      await runOrThrow('mount', ['-o', 'remount,ro', disk]);
      await expect(images.tag('large', 'other')).rejects.toMatchObject({ code: 'READ_ONLY' });
      await expect(images.remove('large')).rejects.toMatchObject({ code: 'READ_ONLY' });
      await expect(images.content.ingest('x', [Buffer.from('x')])).rejects.toMatchObject({
        code: 'READ_ONLY',
      });
      await expect(images.snapshots.prepare('x')).rejects.toMatchObject({ code: 'READ_ONLY' });
      await expect(ImageStore.open({ home: join(disk, 'new/home') })).rejects.toMatchObject({
        code: 'READ_ONLY',
      });
      expect((await images.list()).map(({ name }) => name)).toEqual(['large:latest', 'small:latest']);
      expect((await checkStore(images, { deep: true })).damage).toEqual([]);
    } finally {
      await runOrThrow('umount', [disk]);
    }
  });
});
