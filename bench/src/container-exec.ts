// A program in a running container: Heptad, raw `runc exec` and `docker exec`, from the call to the exit code.

import { mkdtemp, rm } from 'node:fs/promises';
import type { ContainerEngine } from '@heptad/container';
import { type Docker, startDocker } from './container/docker.ts';
import { openRawRunc, type RawRunc } from './container/raw-runc.ts';
import { COMMAND, IMAGE, openEngine } from './container/sleeper.ts';
import { type Benchmark, type Contender, compare, timed } from './harness.ts';

const PROGRAM = ['/bin/true'];
const NAME = 'bench-exec';

function heptad(engine: ContainerEngine, id: string): Contender {
  return {
    who: 'heptad',
    once: () =>
      timed(async () => {
        const session = await engine.runtime.exec(id, { command: PROGRAM });
        const exitCode = await session.exit;
        if (exitCode !== 0) throw new Error(`heptad: exit code ${exitCode}`);
      }),
  };
}

function runcExec(runc: RawRunc): Contender {
  return { who: 'runc', once: () => timed(() => runc.exec(PROGRAM)) };
}

function dockerExec(docker: Docker): Contender {
  return { who: 'docker', once: () => timed(() => docker.command('exec', NAME, ...PROGRAM)) };
}

export const benchmark: Benchmark = {
  description: 'exec true in a running container, from the call to the exit code',
  async run(options) {
    const home = await mkdtemp('/var/tmp/heptad-bench-');
    try {
      await using engine = await openEngine(home, options.say);
      await using runc = await openRawRunc(engine, home);
      await using docker = await startDocker(engine, home, options);
      const { id } = await engine.run({
        name: NAME,
        image: IMAGE,
        entrypoint: [],
        command: COMMAND,
        network: 'none',
      });
      await runc.run();
      await docker?.runSleeper(NAME);
      const contenders = [
        heptad(engine, id),
        runcExec(runc),
        ...(docker === undefined ? [] : [dockerExec(docker)]),
      ];
      const results = await compare(
        { case: 'exec true', metric: 'time', unit: 'ms', contenders, rounds: 40 },
        options,
      );
      await docker?.command('rm', '--force', NAME);
      await runc.remove();
      await engine.runtime.remove(id, { force: true });
      return { ...results, versions: { runc: runc.version, ...(docker ? { docker: docker.version } : {}) } };
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
};
