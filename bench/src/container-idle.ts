// What containers cost that do nothing: memory beside the workload's own, and the time to list and inspect a thousand of them.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import type { ContainerEngine } from '@heptad/container';
import { type Docker, startDocker } from './container/docker.ts';
import { COMMAND, IMAGE, openEngine } from './container/sleeper.ts';
import { type Benchmark, type Contender, compare, type Ratio, type Row, timed } from './harness.ts';

const IDLE = 20;
const KNOWN = 1_000;
/** Run at once, so that making them takes minutes at most. */
const BATCH = 10;
const KIB = 1024;

/**
 * MiB a container of the monitors: of every process that names one and is not its workload. `Rss` counts pages that monitors share
 * once for each, `Pss` shares them out.
 */
async function monitorsMiB(ids: readonly string[], word: string, measure: 'Rss' | 'Pss'): Promise<number> {
  let bytes = 0;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (!command.includes(word) || !ids.some((id) => command.includes(id))) continue;
    const maps = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
    bytes += Number(new RegExp(`^${measure}:\\s+(\\d+) kB`, 'm').exec(maps)?.[1] ?? 0) * KIB;
  }
  return bytes / KIB / KIB / ids.length;
}

/** The containers of each side, and the word that its monitors' command lines begin with. */
interface Idle {
  readonly who: string;
  readonly ids: readonly string[];
  readonly monitor: string;
}

function memoryOf({ who, ids, monitor }: Idle, measure: 'Rss' | 'Pss'): Contender {
  return { who, once: () => monitorsMiB(ids, monitor, measure) };
}

async function idle(engine: ContainerEngine, docker: Docker | undefined): Promise<Idle[]> {
  const ids: string[] = [];
  const dockerIds: string[] = [];
  for (let index = 0; index < IDLE; index += 1) {
    const name = `idle-${index}`;
    const { id } = await engine.run({
      name,
      image: IMAGE,
      entrypoint: [],
      command: COMMAND,
      network: 'none',
    });
    ids.push(id);
    if (docker !== undefined) dockerIds.push(await docker.runSleeper(name));
  }
  const ours = { who: 'heptad', ids, monitor: 'conmon' };
  return docker === undefined
    ? [ours]
    : [ours, { who: 'docker', ids: dockerIds, monitor: 'containerd-shim' }];
}

async function known(engine: ContainerEngine, count: number, say: (message: string) => void): Promise<void> {
  say(`running ${count} containers to their end`);
  for (let first = 0; first < count; first += BATCH)
    await Promise.all(
      Array.from({ length: BATCH }, async (_, index) => {
        const name = `known-${first + index}`;
        const container = await engine.run({
          name,
          image: IMAGE,
          entrypoint: [],
          command: ['/bin/true'],
          network: 'none',
        });
        await container.wait();
      }),
    );
}

async function removeAll(engine: ContainerEngine): Promise<void> {
  for (const { id } of await engine.runtime.list()) await engine.runtime.remove(id, { force: true });
}

export const benchmark: Benchmark = {
  description: `memory of ${IDLE} idle containers beside their workload; list and inspect with ${KNOWN} ended ones known`,
  async run(options) {
    const home = await mkdtemp('/var/tmp/heptad-bench-');
    const rows: Row[] = [];
    const ratios: Ratio[] = [];
    const measure = async (
      name: string,
      metric: string,
      unit: string,
      contenders: readonly Contender[],
      rounds: number,
    ): Promise<void> => {
      const results = await compare({ case: name, metric, unit, contenders, rounds }, options);
      rows.push(...results.rows);
      ratios.push(...results.ratios);
    };
    try {
      await using engine = await openEngine(home, options.say);
      await using docker = await startDocker(engine, home, options);
      try {
        const sides = await idle(engine, docker);
        for (const kind of ['Rss', 'Pss'] as const)
          await measure(
            `idle container, ${kind}`,
            'memory',
            'MiB',
            sides.map((side) => memoryOf(side, kind)),
            3,
          );
        await removeAll(engine);
        const count = options.quick ? BATCH : KNOWN;
        await known(engine, count, options.say);
        const list = { who: 'heptad', once: () => timed(() => engine.runtime.list()) };
        await measure(`list ${count}`, 'time', 'ms', [list], 40);
        const inspect = { who: 'heptad', once: () => timed(() => engine.runtime.inspect('known-5')) };
        await measure(`inspect one of ${count}`, 'time', 'ms', [inspect], 40);
      } finally {
        options.say('removing the containers');
        await removeAll(engine);
        if (docker !== undefined) {
          const left = (await docker.command('ps', '-aq')).split('\n').filter(Boolean);
          if (left.length > 0) await docker.command('rm', '--force', ...left);
        }
      }
      return { rows, ratios, versions: docker === undefined ? {} : { docker: docker.version } };
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
};
