// `heptad run IMAGE`: one container on this machine, outside any service.

import { join } from 'node:path';
import { ContainerEngine, type PullPolicy } from '@heptad/container';
import {
  type ContainerSpec,
  formatBytes,
  invalidArgument,
  type Mount,
  parseBytes,
  parseCpu,
  systemClock,
  systemRandom,
} from '@heptad/core';
import { configFromEnvironment, platformPaths } from '../../config.ts';
import { untilSignal } from '../../supervise/shutdown.ts';
import { say } from '../output.ts';

/** Flags of `heptad run`. */
interface RunOptions {
  readonly rm?: boolean;
  readonly detach?: boolean;
  readonly env: readonly string[];
  readonly publish: readonly string[];
  readonly volume: readonly string[];
  readonly memory?: string;
  readonly cpus?: string;
  readonly name?: string;
  readonly pull: PullPolicy;
}

const STOP_GRACE_MS = 10_000;

function parseEnvironment(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const equals = pair.indexOf('=');
      if (equals < 1)
        throw invalidArgument(`-e "${pair}" is no NAME=VALUE`, 'heptad run -e NAME=VALUE IMAGE');
      return [pair.slice(0, equals), pair.slice(equals + 1)];
    }),
  );
}

function parsePorts(texts: readonly string[]): { hostPort: number; containerPort: number }[] {
  return texts.map((text) => {
    const match = /^(\d+):(\d+)$/.exec(text);
    if (match === null)
      throw invalidArgument(`-p "${text}" is no HOST:CONTAINER`, 'heptad run -p 8080:80 IMAGE');
    return { hostPort: Number(match[1]), containerPort: Number(match[2]) };
  });
}

function parseMounts(texts: readonly string[]): Mount[] {
  return texts.map((text) => {
    const [source = '', target = '', mode] = text.split(':');
    if (!target.startsWith('/') || (mode !== undefined && mode !== 'ro' && mode !== 'rw')) {
      throw invalidArgument(
        `-v "${text}" is no SOURCE:TARGET[:ro]`,
        'heptad run -v /srv/data:/data:ro IMAGE',
      );
    }
    const readOnly = mode === 'ro';
    return source.startsWith('/')
      ? { type: 'bind', source, target, readOnly }
      : { type: 'volume', name: source, target, readOnly };
  });
}

function specOf(image: string, words: readonly string[], options: RunOptions): ContainerSpec {
  return {
    name: options.name ?? `run-${systemRandom.uuid(systemClock.now()).slice(-12)}`,
    image,
    ...(words.length === 0 ? {} : { command: words }),
    environment: parseEnvironment(options.env),
    ports: parsePorts(options.publish),
    mounts: parseMounts(options.volume),
    limits: {
      ...(options.memory === undefined ? {} : { memoryBytes: parseBytes(options.memory) }),
      ...(options.cpus === undefined ? {} : { cpuMillis: parseCpu(options.cpus) }),
    },
  };
}

/** Runs `heptad run`; exits with the container's exit code. */
export async function runContainer(
  image: string,
  words: readonly string[],
  options: RunOptions,
): Promise<void> {
  const config = configFromEnvironment();
  // A home of its own: the agent owns the platform's, and images are shared through the image store.
  await using engine = await ContainerEngine.open({
    home: join(platformPaths(config.home).engine, 'run'),
    imagesHome: platformPaths(config.home).images,
    runtime: config.runtime,
  });
  const { id } = await engine.run(specOf(image, words, options), {
    pull: options.pull,
    onPullProgress: (event) => {
      if (event.type === 'resolved') say(`pulling ${image}: ${formatBytes(event.bytes)}`);
      if (event.type === 'retry') say(`again (${event.attempt}): ${event.reason}`);
    },
  });
  if (options.detach) {
    process.stdout.write(`${id}\n`);
    return;
  }
  void untilSignal().then(() => engine.runtime.stop(id, { graceMs: STOP_GRACE_MS }));
  for await (const line of engine.runtime.logs(id, { follow: true })) {
    (line.stream === 'stderr' ? process.stderr : process.stdout).write(`${line.text}\n`);
  }
  const exit = await engine.runtime.wait(id);
  if (options.rm) await engine.runtime.remove(id, { force: true });
  process.exitCode = exit.exitCode;
}
