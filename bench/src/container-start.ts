// From "create" to a running process: Heptad, raw runc on the same bundle, and `docker run -d` of the same image.

import { mkdtemp, rm } from 'node:fs/promises';
import type { ContainerEngine } from '@heptad/container';
import { type Docker, startDocker } from './container/docker.ts';
import { openRawRunc, type RawRunc } from './container/raw-runc.ts';
import { COMMAND, IMAGE, openEngine, requireRunning } from './container/sleeper.ts';
import { type Benchmark, type Contender, compare, type Ratio, type Row, timed } from './harness.ts';

function heptad(engine: ContainerEngine, network: 'none' | 'bridge'): Contender {
  let port = 42_000;
  return {
    who: 'heptad',
    once: async () => {
      let id = '';
      port += 1;
      const time = await timed(async () => {
        id = await engine.runtime.create({
          name: 'bench',
          image: IMAGE,
          entrypoint: [],
          command: COMMAND,
          network,
          ...(network === 'none' ? {} : { ports: [{ hostPort: port, containerPort: 80 }] }),
        });
        await engine.runtime.start(id);
      });
      await requireRunning((await engine.runtime.inspect(id)).pid ?? 0);
      await engine.runtime.remove(id, { force: true });
      return time;
    },
  };
}

function rawRunc(runc: RawRunc): Contender {
  return {
    who: 'runc',
    once: async () => {
      const time = await timed(() => runc.run());
      await runc.requireRunning();
      await runc.remove();
      return time;
    },
  };
}

function dockerRun(docker: Docker, network: 'none' | 'bridge'): Contender {
  let port = 43_000;
  return {
    who: 'docker',
    once: async () => {
      port += 1;
      const place = network === 'none' ? ['--network', 'none'] : ['--publish', `127.0.0.1:${port}:80`];
      const time = await timed(() =>
        docker.command(
          'run',
          '--detach',
          '--name',
          'bench',
          ...place,
          '--entrypoint',
          COMMAND[0] ?? '',
          IMAGE,
          ...COMMAND.slice(1),
        ),
      );
      await requireRunning(Number(await docker.command('inspect', '--format', '{{.State.Pid}}', 'bench')));
      await docker.command('rm', '--force', 'bench');
      return time;
    },
  };
}

export const benchmark: Benchmark = {
  description: 'create and start a container until its process runs, the image being present',
  async run(options) {
    const home = await mkdtemp('/var/tmp/heptad-bench-');
    const rows: Row[] = [];
    const ratios: Ratio[] = [];
    try {
      await using engine = await openEngine(home, options.say);
      await using runc = await openRawRunc(engine, home);
      await using docker = await startDocker(engine, home, options);
      const measure = async (name: string, contenders: readonly Contender[]): Promise<void> => {
        const results = await compare(
          { case: name, metric: 'time', unit: 'ms', contenders, rounds: 30 },
          options,
        );
        rows.push(...results.rows);
        ratios.push(...results.ratios);
      };
      await measure('no network', [
        heptad(engine, 'none'),
        rawRunc(runc),
        ...(docker ? [dockerRun(docker, 'none')] : []),
      ]);
      if (docker) await measure('bridge, one port', [heptad(engine, 'bridge'), dockerRun(docker, 'bridge')]);
      await engine.network?.removeBridge();
      const { version } = await engine.probe();
      return {
        rows,
        ratios,
        versions: {
          heptad: version ?? 'unknown',
          runc: runc.version,
          ...(docker ? { docker: docker.version } : {}),
        },
      };
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
};
