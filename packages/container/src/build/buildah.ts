// buildah with storage of its own below an image store: runs it, hands images to it and takes them back.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { type Digest, digestHex } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { type CommandResult, run, TOOL_PATH } from '../system/command.ts';
import { ensureDirectory } from '../system/files.ts';

/** A line of what buildah says. */
export type BuildahOutput = (line: string) => void;

/** How a long buildah command is run. */
export interface BuildahRun {
  /** For its temporary files; who made it removes it, with what a killed buildah left there. */
  readonly directory: string;
  readonly onLine: BuildahOutput;
  readonly signal?: AbortSignal | undefined;
}

/** What went wrong is in the last lines; a whole build can say megabytes. */
const KEPT_LINES = 30;
const MAX_LINE_CHARACTERS = 2_000;

/**
 * As root in a mount namespace of its own: what buildah's storage mounts, and what a build that is killed leaves mounted,
 * ends with it. An ordinary user's buildah makes such namespaces by itself.
 */
const PROGRAM: readonly string[] =
  process.getuid?.() === 0 ? ['unshare', '--mount', '--', 'buildah'] : ['buildah'];

/** buildah for one image store. */
export class Buildah {
  private readonly images: ImageStore;
  private readonly home: string;
  private readonly globals: readonly string[];
  private readonly policy: string;

  private constructor(images: ImageStore, home: string, driver: string) {
    this.images = images;
    this.home = home;
    this.policy = join(home, 'policy.json');
    this.globals = globalsOf(home, driver);
  }

  /** Throws `RUNTIME_UNAVAILABLE` when buildah is not installed, saying how to get it. */
  static async open(images: ImageStore): Promise<Buildah> {
    await run('buildah', ['--version']).catch((cause: unknown) => {
      if (!isHeptadError(cause, 'RUNTIME_UNAVAILABLE')) throw cause;
      throw new ContainerError('RUNTIME_UNAVAILABLE', 'cannot build a Dockerfile: buildah is not installed', {
        cause,
        hint: 'install it ("apt-get install buildah"); a Node.js application is built without it when no Dockerfile is asked for',
      });
    });
    const home = join(images.home, 'buildah');
    await ensureDirectory(join(home, 'tmp'));
    // Images come from our store only, which has held them against the trust policy; the machine's own rules for
    // other tools, and its registries, are none of ours.
    await writeFile(join(home, 'policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
    await writeFile(join(home, 'registries.conf'), 'unqualified-search-registries = []\n');
    // overlayfs does not lie on every file system: then files are copied.
    const works = (await query([...globalsOf(home, 'overlay'), 'info'])).exitCode === 0;
    return new Buildah(images, home, works ? 'overlay' : 'vfs');
  }

  /** A directory for this build's files. */
  async temporary(): Promise<string> {
    return await mkdtemp(join(this.home, 'tmp', 'build-'));
  }

  /** Gives buildah an image of our store; returns the name it has there. What it has already is not copied again. */
  async give(digest: Digest, onLine: BuildahOutput, signal?: AbortSignal): Promise<string> {
    const name = `localhost/heptad/${digestHex(digest)}:base`;
    const known = await query([
      ...this.globals,
      'inspect',
      '--type',
      'image',
      '--format',
      '{{.FromImageID}}',
      name,
    ]);
    if (known.exitCode === 0) return name;
    const directory = await this.temporary();
    try {
      const archive = join(directory, 'base.tar');
      await this.images.save([digest], archive);
      const options = { onLine, signal, directory };
      const lines = await this.command(
        ['pull', '--signature-policy', this.policy, `oci-archive:${archive}`],
        options,
      );
      await this.command(['tag', lines.at(-1) ?? '', name], options);
      return name;
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  /** Builds; returns the id of the image in buildah's storage. */
  async build(args: readonly string[], context: string, options: BuildahRun): Promise<string> {
    const { directory } = options;
    const fixed = [
      // Without a runtime of its own, and without network namespaces, this works wherever we do.
      ...['--isolation', 'chroot', '--format', 'oci', '--layers', '--force-rm'],
      // What the Dockerfile names was given from our store; buildah must not ask a registry itself.
      ...['--pull=never', '--signature-policy', this.policy],
      ...['--iidfile', join(directory, 'id')],
    ];
    await this.command(['build', ...fixed, ...args, context], options);
    // What the steps print goes to the same output as the id, so that is asked for in a file.
    return (await readFile(join(directory, 'id'), 'utf8')).trim();
  }

  /** Brings a built image into our store under `name`. */
  async take(id: string, name: string, options: BuildahRun): Promise<void> {
    const archive = join(options.directory, 'image.tar');
    await this.command(
      ['push', '--signature-policy', this.policy, id, `oci-archive:${archive}:${name}`],
      options,
    );
    await this.images.load(archive, options.signal === undefined ? {} : { signal: options.signal });
  }

  /** Runs buildah to its end; returns the lines of its standard output. Throws `BUILD_FAILED` with its last words. */
  private async command(
    args: readonly string[],
    { onLine, signal, directory }: BuildahRun,
  ): Promise<string[]> {
    signal?.throwIfAborted();
    // A group of its own, so that what a RUN started ends with it.
    const [program = '', ...before] = PROGRAM;
    const child = spawn(program, [...before, ...this.globals, ...args], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: TOOL_PATH, HOME: this.home, TMPDIR: directory },
    });
    const ended = Promise.withResolvers<number>();
    child.on('error', ended.reject);
    child.on('close', (code) => ended.resolve(code ?? 1));
    const abort = (): void => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    };
    signal?.addEventListener('abort', abort, { once: true });
    const output: string[] = [];
    const last: string[] = [];
    const read = (stream: NodeJS.ReadableStream, isOutput: boolean): void => {
      createInterface({ input: stream }).on('line', (text) => {
        const line = text.slice(0, MAX_LINE_CHARACTERS);
        for (const list of isOutput ? [output, last] : [last]) if (list.push(line) > KEPT_LINES) list.shift();
        onLine(line);
      });
    };
    read(child.stdout, true);
    read(child.stderr, false);
    const exitCode = await ended.promise.finally(() => signal?.removeEventListener('abort', abort));
    signal?.throwIfAborted();
    if (exitCode === 0) return output;
    throw new ContainerError(
      'BUILD_FAILED',
      `buildah ${args[0]} failed with exit code ${exitCode}: ${last.join('\n')}`,
      {
        hint: 'the last lines are those of the step that failed',
        details: { exitCode },
      },
    );
  }
}

/** A short question to buildah. */
async function query(args: readonly string[]): Promise<CommandResult> {
  const [program = '', ...before] = PROGRAM;
  return await run(program, [...before, ...args]);
}

function globalsOf(home: string, driver: string): string[] {
  return [
    ...['--root', join(home, driver), '--runroot', join(home, `${driver}-run`)],
    ...['--storage-driver', driver, '--registries-conf', join(home, 'registries.conf')],
  ];
}
