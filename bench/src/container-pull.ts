// From a registry on this machine to unpacked layers: Heptad, `docker pull` and `podman pull` of one image.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ImageStore, RegistryClient } from '@heptad/container';
import { IMAGE_BYTES, IMAGE_FILES, IMAGE_LAYERS } from './container-pull/image.ts';
import { openPodman, type Puller, startDocker } from './container-pull/peers.ts';
import { type BenchRegistry, type Compression, startRegistry } from './container-pull/registry.ts';
import { type Benchmark, type Contender, compare, type Ratio, type Row, timed } from './harness.ts';

const execute = promisify(execFile);

/** Nobody pays for what another left to be written. */
async function settle(): Promise<void> {
  await execute('sync');
}

/** The library in this process, as a program uses it: a new store each time, so that nothing is there. */
function heptad(home: string, image: string): Contender {
  let turn = 0;
  return {
    who: 'heptad',
    once: async () => {
      turn += 1;
      const store = join(home, `store-${turn}`);
      await settle();
      const time = await timed(async () => {
        const images = await ImageStore.open({ home: store });
        await using client = new RegistryClient({ dockerConfig: false });
        await client.pull(images, image, { unpack: true });
      });
      await requireUnpacked(store, image);
      await rm(store, { recursive: true });
      return time;
    },
  };
}

/** Layers, files and bytes are all there. */
async function requireUnpacked(store: string, image: string): Promise<void> {
  const images = await ImageStore.open({ home: store });
  const { top } = await images.unpack(image);
  const layers = await images.snapshots.layers(top);
  const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0);
  const entries = layers.reduce((sum, layer) => sum + layer.entries, 0);
  if (layers.length !== IMAGE_LAYERS || bytes !== IMAGE_BYTES || entries < IMAGE_FILES)
    throw new Error(`heptad unpacked ${layers.length} layers, ${entries} entries, ${bytes} bytes`);
}

function peer(puller: Puller, image: string): Contender {
  return {
    who: puller.who,
    once: async () => {
      await settle();
      const time = await timed(() => puller.pull(image));
      await puller.requireLayers(image, IMAGE_LAYERS);
      await puller.remove(image);
      return time;
    },
  };
}

export const benchmark: Benchmark = {
  description: 'pull and unpack an image of 300 MB in 8 layers from a registry on this machine',
  async run(options) {
    const home = await mkdtemp('/var/tmp/heptad-bench-');
    const rows: Row[] = [];
    const ratios: Ratio[] = [];
    try {
      await using registry: BenchRegistry = await startRegistry(home, options.say);
      await using docker = await startDocker(home, options.say);
      await using podman = await openPodman(home, options.say);
      const measure = async (
        compression: Compression,
        peers: readonly (Puller | undefined)[],
      ): Promise<void> => {
        const image = registry.image(compression);
        const megabytes = Math.round(registry.compressedBytes[compression] / 1e6);
        const results = await compare(
          {
            case: `${compression}, ${megabytes} MB over the wire`,
            metric: 'time',
            unit: 'ms',
            contenders: [
              heptad(home, image),
              ...peers.flatMap((one) => (one === undefined ? [] : [peer(one, image)])),
            ],
            rounds: 10,
            warmUpRounds: 1,
          },
          options,
        );
        rows.push(...results.rows);
        ratios.push(...results.ratios);
      };
      await measure('gzip', [docker, podman]);
      // Docker 20.10 knows no zstd.
      await measure('zstd', [podman]);
      return {
        rows,
        ratios,
        versions: {
          node: process.versions.node,
          ...(docker ? { docker: docker.version } : {}),
          ...(podman ? { podman: podman.version } : {}),
        },
      };
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
};
