// Raw runc on the bundle that Heptad wrote: what nobody who uses runc can undercut.

import { execFile, spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ContainerEngine } from '@heptad/container';
import { COMMAND, IMAGE, requireRunning } from './sleeper.ts';

const execute = promisify(execFile);
const NAME = 'bench';

/** runc on one bundle. */
export interface RawRunc extends AsyncDisposable {
  readonly version: string;
  /** `runc run --detach`. */
  run(): Promise<void>;
  /** Throws unless the command runs. */
  requireRunning(): Promise<void>;
  exec(command: readonly string[]): Promise<void>;
  remove(): Promise<void>;
}

/** The snapshots are mounted once and ahead. */
export async function openRawRunc(engine: ContainerEngine, home: string): Promise<RawRunc> {
  const id = await engine.runtime.create({
    name: 'template',
    image: IMAGE,
    entrypoint: [],
    command: COMMAND,
    network: 'none',
  });
  const bundle = join(home, 'bundle');
  await mkdir(bundle);
  const template = join(home, 'engine', 'oci', 'containers', id, 'bundle', 'config.json');
  const config = JSON.parse(await readFile(template, 'utf8'));
  config.linux.cgroupsPath = '/heptad-bench/runc';
  await writeFile(join(bundle, 'config.json'), JSON.stringify(config));
  const runc = ['--root', join(home, 'runc')];
  const { stdout } = await execute('runc', ['--version']);
  const pidFile = join(bundle, 'pid');
  return {
    version: /version (\S+)/.exec(stdout)?.[1] ?? 'unknown',
    run: () =>
      runQuietly('runc', [...runc, 'run', '--detach', '--bundle', bundle, '--pid-file', pidFile, NAME]),
    requireRunning: async () => requireRunning(Number(await readFile(pidFile, 'utf8'))),
    exec: async (command) => void (await execute('runc', [...runc, 'exec', NAME, ...command])),
    remove: async () => void (await execute('runc', [...runc, 'delete', '--force', NAME])),
    async [Symbol.asyncDispose]() {
      await engine.runtime.remove(id, { force: true });
      for (const controller of [
        'cpu',
        'cpuacct',
        'cpuset',
        'memory',
        'devices',
        'freezer',
        'blkio',
        'pids',
        'systemd',
        'unified',
        '',
      ]) {
        await execute('rmdir', [join('/sys/fs/cgroup', controller, 'heptad-bench')]).catch(() => undefined);
      }
    },
  };
}

/** Runs a program whose detached child keeps its output open: only its exit is awaited. */
function runQuietly(file: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, [...args], { stdio: 'ignore' });
    child.once('error', reject);
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`${file} ${args.join(' ')}: exit code ${code}`)),
    );
  });
}
