// One operation on an image store, in a process of its own: `scenario.ts NAME HOME`. Run with the interposer loaded first.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildNodeImage } from '../../src/build/build-node-image.ts';
import { diskError } from '../../src/errors.ts';
import { ImageStore } from '../../src/image/image-store.ts';
import { directoryName } from '../../src/image/snapshot-info.ts';
import { addRawImage } from '../layer-images.ts';
import { rawTar } from '../raw-tar.ts';
import { endSteps, startSteps } from './interposer.ts';

const LAYERS = [
  rawTar({ name: 'a', content: 'a' }, { name: 'd', type: '5' }, { name: 'd/x', content: 'x'.repeat(3_000) }),
  rawTar({ name: '.wh.a' }, { name: 'd/y', content: 'y' }, { name: 'l', type: '2', linkName: 'd' }),
].map((archive) => ({ archive }));

/** Every scenario: what is there before, and what is done. */
const scenarios: Record<
  string,
  { before: (home: string) => Promise<void>; run: (home: string) => Promise<void> }
> = {
  build: {
    before: async (home) => {
      await mkdir(join(home, 'app'));
      await writeFile(join(home, 'app', 'main.mjs'), 'console.log(1)');
    },
    run: async (home) => {
      const images = await ImageStore.open({ home: join(home, 'images') });
      const directory = join(home, 'app');
      await buildNodeImage({
        images,
        name: 'built',
        directory,
        main: 'main.mjs',
        nodeBinary: '/bin/true',
        tools: [],
      });
    },
  },
  ingest: {
    before: async () => undefined,
    run: async (home) => {
      const images = await ImageStore.open({ home: join(home, 'images') });
      await addRawImage(images, 'made', LAYERS);
      const { digest } = await images.inspect('made');
      await images.content.update(digest, { labels: { note: '1' } });
      const lease = await images.leases.create();
      await lease.add({ kind: 'content', id: digest });
      await images.tag('made', 'second');
      await lease.release();
      await images.remove('made');
    },
  },
  load: {
    before: async (home) => {
      const images = await ImageStore.open({ home: join(home, 'other') });
      await addRawImage(images, 'saved', LAYERS);
      await images.save(['saved'], join(home, 'saved.tar'));
    },
    run: async (home) => {
      const images = await ImageStore.open({ home: join(home, 'images') });
      await images.load(join(home, 'saved.tar'));
    },
  },
  unpack: {
    before: async (home) => {
      await addRawImage(await ImageStore.open({ home: join(home, 'images') }), 'made', LAYERS);
    },
    run: async (home) => {
      await (await ImageStore.open({ home: join(home, 'images') })).unpack('made');
    },
  },
  commit: {
    before: async (home) => {
      const images = await ImageStore.open({ home: join(home, 'images') });
      await addRawImage(images, 'made', LAYERS);
      await images.unpack('made');
    },
    run: async (home) => {
      const { snapshots, unpack } = await openWith(home);
      const { top } = await unpack();
      await snapshots.prepare('key', top);
      const file = join(snapshots.path, directoryName('key'), 'fs', 'written');
      await writeFile(file, 'as through a mount').catch((error: unknown) => {
        throw diskError(error, 'write as a container would');
      });
      await snapshots.commit('done', 'key');
      await snapshots.view('view', 'done');
      await snapshots.update('view', { labels: { a: 'b' } });
      await snapshots.remove('view');
      await snapshots.remove('done');
    },
  },
  collect: {
    before: async (home) => {
      const images = await ImageStore.open({ home: join(home, 'images') });
      await addRawImage(images, 'kept', LAYERS.slice(0, 1));
      // Nothing in common: two snapshots go, one on top of the other.
      await addRawImage(images, 'gone', LAYERS.toReversed());
      await images.unpack('gone');
    },
    run: async (home) => {
      const images = await ImageStore.open({ home: join(home, 'images') });
      const writer = await images.content.writer('abandoned');
      await writer.write(Buffer.from('half'));
      await writer.close();
      // Removed already when a collection that was stopped is done again.
      if ((await images.list()).some((image) => image.name === 'gone:latest')) await images.remove('gone');
      await images.gc({ minimumAgeMs: -60_000 });
    },
  },
};

async function openWith(home: string) {
  const images = await ImageStore.open({ home: join(home, 'images') });
  return { snapshots: images.snapshots, unpack: () => images.unpack('made') };
}

const [name = '', home = '', part = 'run'] = process.argv.slice(2);
const scenario = scenarios[name];
if (scenario === undefined) throw new Error(`no scenario "${name}"`);
if (part === 'before') {
  await scenario.before(home);
} else {
  startSteps();
  try {
    await scenario.run(home);
    process.stdout.write(`done ${endSteps()}\n`);
  } catch (error) {
    endSteps();
    const code =
      typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : String(error);
    process.stdout.write(`failed ${code}\n`);
  }
}
