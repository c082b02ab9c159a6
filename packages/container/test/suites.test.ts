// Our store and snapshotter under the contracts of containerd's suites.

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '@heptad/core';
import { describe, it } from 'vitest';
import { ContentStore } from '../src/image/content-store.ts';
import { Snapshotter } from '../src/image/snapshotter.ts';
import { contentSuite } from './suites/content-suite.ts';
import { snapshotSuite } from './suites/snapshot-suite.ts';
import { temporaryDirectory } from './support.ts';

describe('the content store keeps its contract', () => {
  for (const each of contentSuite) {
    it(each.name, async () => {
      await each.run(async () => {
        const home = await temporaryDirectory();
        const open = async (name: string): Promise<ContentStore> => {
          await mkdir(join(home, name), { recursive: true });
          return await ContentStore.open(join(home, name));
        };
        return {
          store: await open('a'),
          reopen: () => open('a'),
          other: () => open('b'),
          now: () => systemClock.now(),
          [Symbol.asyncDispose]: () => rm(home, { recursive: true, force: true }),
        };
      });
    });
  }
});

describe.skipIf(process.getuid?.() !== 0)('the snapshotter keeps its contract', () => {
  for (const each of snapshotSuite) {
    it(each.name, { timeout: 120_000 }, async () => {
      await each.run(async () => {
        const home = await temporaryDirectory();
        await mkdir(join(home, 'work'));
        return {
          snapshotter: await Snapshotter.open(join(home, 'snapshots')),
          work: join(home, 'work'),
          now: () => systemClock.now(),
          [Symbol.asyncDispose]: () => rm(home, { recursive: true, force: true }),
        };
      });
    });
  }
});
