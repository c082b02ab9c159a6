// `heptad run IMAGE`: one container on this machine, outside any service.

import { once } from 'node:events';
import { join } from 'node:path';
import { ContainerEngine, type PullPolicy } from '@heptad/container';
import {
  type ContainerSpec,
  formatBytes,
  invalidArgument,
  isHeptadError,
  type Mount,
  parseBytes,
  parseCpu,
  type RestartPolicy,
  systemClock,
  systemRandom,
  type TerminalSize,
} from '@heptad/core';
import { configFromEnvironment, platformPaths } from '../../config.ts';
import { untilSignal } from '../../supervise/shutdown.ts';
import { say } from '../output.ts';
import { withTerminal } from '../terminal.ts';

type EngineRunOptions = NonNullable<Parameters<ContainerEngine['run']>[1]>;

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
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly init?: boolean;
  readonly restart?: string;
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

function parseRestart(text: string): RestartPolicy {
  const match = /^(no|always|unless-stopped|on-failure)(?::(\d+))?$/.exec(text);
  const policy = match?.[1] as RestartPolicy['policy'] | undefined;
  if (policy === undefined || (match?.[2] !== undefined && policy !== 'on-failure')) {
    throw invalidArgument(
      `--restart "${text}" is no policy`,
      'heptad run --restart always|unless-stopped|on-failure[:N] IMAGE',
    );
  }
  return match?.[2] === undefined ? { policy } : { policy, maxRetries: Number(match[2]) };
}

function specOf(image: string, words: readonly string[], options: RunOptions): ContainerSpec {
  return {
    name: options.name ?? `run-${systemRandom.uuid(systemClock.now()).slice(-12)}`,
    image,
    ...(words.length === 0 ? {} : { command: words }),
    environment: parseEnvironment(options.env),
    ports: parsePorts(options.publish),
    mounts: parseMounts(options.volume),
    ...(options.interactive ? { openStdin: true } : {}),
    ...(options.tty ? { tty: true } : {}),
    ...(options.init ? { init: true } : {}),
    ...(options.restart === undefined ? {} : { restart: parseRestart(options.restart) }),
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
  const run: EngineRunOptions = {
    pull: options.pull,
    onPullProgress: (event) => {
      if (event.type === 'resolved') say(`pulling ${image}: ${formatBytes(event.bytes)}`);
      if (event.type === 'retry') say(`again (${event.attempt}): ${event.reason}`);
    },
  };
  const spec = specOf(image, words, options);
  if (!options.detach && (options.interactive || options.tty)) {
    process.exitCode = await runAttached(engine, spec, run, options);
    return;
  }
  const { id } = await engine.run(spec, run);
  if (options.detach) {
    process.stdout.write(`${id}\n`);
    return;
  }
  void untilSignal().then(() => engine.runtime.stop(id, { graceMs: STOP_GRACE_MS }));
  process.exitCode = await tellLog(engine, id, options);
}

/** Prints what it says until it has ended; answers its exit code. */
async function tellLog({ runtime }: ContainerEngine, id: string, options: RunOptions): Promise<number> {
  for await (const line of runtime.logs(id, { follow: true })) {
    (line.stream === 'stderr' ? process.stderr : process.stdout).write(`${line.text}\n`);
  }
  const exit = await runtime.wait(id);
  if (options.rm) await runtime.remove(id, { force: true, volumes: true });
  return exit.exitCode;
}

/** Runs with our input and output as the container's, our terminal included. Answers its exit code. */
async function runAttached(
  engine: ContainerEngine,
  spec: ContainerSpec,
  run: EngineRunOptions,
  options: RunOptions,
): Promise<number> {
  const typing = options.interactive === true;
  return await withTerminal(typing && options.tty === true, async (terminal) => {
    const { id } = await engine.run(spec, { ...run, terminalSize: terminal.size });
    const { runtime } = engine;
    const session = await runtime.attach(id, { stdin: typing, replay: true }).catch((error: unknown) => {
      if (isHeptadError(error, 'ILLEGAL_TRANSITION')) return undefined;
      throw error;
    });
    // It was quicker than we: what it said is in its log.
    if (session === undefined) return await tellLog(engine, id, options);
    if (options.tty) {
      const resize = (size: TerminalSize): void => {
        // One that has just ended has no terminal any more.
        runtime.resize(id, size).catch(() => undefined);
      };
      terminal.onResize(resize);
    }
    if (typing) {
      process.stdin.on('data', (chunk) => void session.write(Buffer.from(chunk)).catch(() => undefined));
      process.stdin.on('end', () => void session.end().catch(() => undefined));
    }
    void untilSignal().then(() => runtime.stop(id, { graceMs: STOP_GRACE_MS }));
    await Promise.all([copy(session.stdout, process.stdout), copy(session.stderr, process.stderr)]);
    const exit = await runtime.wait(id);
    process.stdin.pause();
    if (options.rm) await runtime.remove(id, { force: true, volumes: true });
    return exit.exitCode;
  });
}

async function copy(from: AsyncIterable<Uint8Array>, to: NodeJS.WriteStream): Promise<void> {
  for await (const chunk of from) {
    if (!to.write(chunk)) await once(to, 'drain');
  }
}
