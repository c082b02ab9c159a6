// Fifty containers asked for at once: Heptad's engine in this process, and fifty `docker run -d` side by side.

import { mkdtemp, rm } from 'node:fs/promises';
import type { ContainerEngine } from '@heptad/container';
import { type Docker, startDocker } from './container/docker.ts';
import { COMMAND, IMAGE, openEngine, requireRunning } from './container/sleeper.ts';
import { type Benchmark, type Contender, compare, timed } from './harness.ts';

const COUNT = 50;
const NAMES = Array.from({ length: COUNT }, (_, index) => `bench-${index}`);

function heptad(engine: ContainerEngine): Contender {
  return {
    who: 'heptad',
    once: async () => {
      const time = await timed(() =>
        Promise.all(
          NAMES.map((name) =>
            engine.run({ name, image: IMAGE, entrypoint: [], command: COMMAND, network: 'none' }),
          ),
        ),
      );
      for (const name of NAMES) await requireRunning((await engine.runtime.inspect(name)).pid ?? 0);
      await Promise.all(NAMES.map((name) => engine.runtime.remove(name, { force: true })));
      return time;
    },
  };
}

function dockerRun(docker: Docker): Contender {
  return {
    who: 'docker',
    once: async () => {
      const time = await timed(() => Promise.all(NAMES.map((name) => docker.runSleeper(name))));
      const pids = await docker.command('inspect', '--format', '{{.State.Pid}}', ...NAMES);
      for (const pid of pids.split('\n')) await requireRunning(Number(pid));
      await docker.command('rm', '--force', ...NAMES);
      return time;
    },
  };
}

export const benchmark: Benchmark = {
  description: `${COUNT} containers started at once, until all their processes run`,
  async run(options) {
    const home = await mkdtemp('/var/tmp/heptad-bench-');
    try {
      await using engine = await openEngine(home, options.say);
      await using docker = await startDocker(engine, home, options);
      const contenders = [heptad(engine), ...(docker === undefined ? [] : [dockerRun(docker)])];
      const results = await compare(
        { case: `${COUNT} at once`, metric: 'time', unit: 'ms', contenders, rounds: 5, warmUpRounds: 1 },
        options,
      );
      return { ...results, versions: docker === undefined ? {} : { docker: docker.version } };
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
};
