// Docker and Podman as they pull: with storage of their own, removed again, and looked at to see that the work was done.

import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Somebody who pulls images. */
export interface Puller extends AsyncDisposable {
  readonly who: string;
  readonly version: string;
  pull(image: string): Promise<void>;
  /** Throws unless the image is here with so many layers. */
  requireLayers(image: string, layers: number): Promise<void>;
  remove(image: string): Promise<void>;
}

/** A Docker daemon of our own without networks; undefined when it is not installed or does not start. */
export async function startDocker(home: string, say: (message: string) => void): Promise<Puller | undefined> {
  if (!existsSync('/usr/sbin/dockerd')) {
    say('dockerd is not installed (apt-get install docker.io): measuring without Docker');
    return undefined;
  }
  const directory = join(home, 'docker');
  await mkdir(directory);
  const host = `unix://${join(directory, 'docker.sock')}`;
  const daemon = spawn(
    'dockerd',
    [
      ...['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')],
      ...['--pidfile', join(directory, 'pid'), '--host', host, '--log-level', 'error'],
      ...['--bridge=none', '--iptables=false', '--ip-forward=false', '--ip-masq=false'],
    ],
    { stdio: 'ignore' },
  );
  const docker = async (...args: string[]): Promise<string> =>
    (await execute('docker', ['--host', host, ...args])).stdout.trim();
  let version: string | undefined;
  for (let attempt = 0; attempt < 300 && version === undefined; attempt += 1) {
    if (daemon.exitCode !== null) break;
    version = await docker('version', '--format', '{{.Server.Version}}').catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  if (version === undefined) {
    say('dockerd does not start here: measuring without Docker');
    daemon.kill('SIGKILL');
    return undefined;
  }
  return {
    who: 'docker',
    version,
    pull: async (image) => void (await docker('pull', '--quiet', image)),
    requireLayers: async (image, layers) =>
      requireCount(
        'docker',
        Number(await docker('image', 'inspect', '--format', '{{len .RootFS.Layers}}', image)),
        layers,
      ),
    remove: async (image) => void (await docker('rmi', '--force', image)),
    async [Symbol.asyncDispose]() {
      const ended = new Promise((resolve) => daemon.once('exit', resolve));
      daemon.kill('SIGTERM');
      await ended;
    },
  };
}

/** Podman with storage of its own; undefined when it is not installed. */
export async function openPodman(home: string, say: (message: string) => void): Promise<Puller | undefined> {
  if (!existsSync('/usr/bin/podman')) {
    say('podman is not installed (apt-get install podman): measuring without Podman');
    return undefined;
  }
  const directory = join(home, 'podman');
  const storage = [
    '--root',
    join(directory, 'root'),
    '--runroot',
    join(directory, 'run'),
    '--storage-driver',
    'overlay',
  ];
  const podman = async (...args: string[]): Promise<string> =>
    (await execute('podman', [...storage, ...args])).stdout.trim();
  return {
    who: 'podman',
    version: await podman('version', '--format', '{{.Client.Version}}'),
    pull: async (image) => void (await podman('pull', '--quiet', '--tls-verify=false', image)),
    requireLayers: async (image, layers) =>
      requireCount(
        'podman',
        Number(await podman('image', 'inspect', '--format', '{{len .RootFS.Layers}}', image)),
        layers,
      ),
    remove: async (image) => void (await podman('rmi', '--force', image)),
    async [Symbol.asyncDispose]() {
      // Its overlay directory is a mount.
      await execute('umount', [join(directory, 'root', 'overlay')]).catch(() => undefined);
    },
  };
}

function requireCount(who: string, actual: number, expected: number): void {
  if (actual !== expected) throw new Error(`${who} has ${actual} layers instead of ${expected}`);
}
