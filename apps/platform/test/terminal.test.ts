// `heptad run -it` as a person has it: the command on a terminal of its own, typed into.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerEngine, ImageStore } from '@heptad/container';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { noBusybox, writeBusyboxArchive } from '../../../packages/container/test/busybox-image.ts';
import { noContainers, temporaryDirectory } from '../../../packages/container/test/support.ts';
import { platformPaths } from '../src/config.ts';

const CLI = join(import.meta.dirname, '..', 'src', 'cli', 'main.ts');
const IMAGE = 'busybox:test';
// A busy machine takes its time.
const PATIENT = { timeout: 40_000, interval: 100 };

async function removeContainers(home: string): Promise<void> {
  const paths = platformPaths(home);
  await using engine = await ContainerEngine.open({
    home: join(paths.engine, 'run'),
    imagesHome: paths.images,
    runtime: 'oci',
  });
  for (const { id } of await engine.runtime.list()) await engine.runtime.remove(id, { force: true });
}

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

describe.skipIf((noContainers ?? noBusybox) !== undefined)('heptad run -it', () => {
  let home = '';
  let shown = '';
  let child: ChildProcess | undefined;

  /** Runs `heptad` on a new terminal of 100 columns and 30 rows; what the terminal shows is in `shown`. */
  const heptad = (...args: string[]): ChildProcess => {
    const command = [process.execPath, '--conditions=heptad-source', CLI, ...args].map(quoted).join(' ');
    // util-linux's script is the terminal: its standard input is the keyboard, and -e makes the exit code the command's.
    const started = spawn('script', ['-qec', `stty cols 100 rows 30; exec ${command}`, '/dev/null'], {
      env: { ...process.env, HEPTAD_HOME: home, HEPTAD_RUNTIME: 'oci', SHELL: '/bin/sh', TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    shown = '';
    started.stdout?.on('data', (chunk) => {
      shown += String(chunk);
    });
    child = started;
    return started;
  };
  const type = (text: string): void => void child?.stdin?.write(text);
  const shows = async (pattern: RegExp): Promise<void> =>
    await expect.poll(() => shown, PATIENT).toMatch(pattern);
  const exitCode = async (started: ChildProcess): Promise<unknown> =>
    started.exitCode ?? (await once(started, 'exit'))[0];

  beforeAll(async () => {
    home = await temporaryDirectory();
    const archive = join(home, 'busybox.tar');
    await writeBusyboxArchive(archive, IMAGE);
    const images = await ImageStore.open({ home: platformPaths(home).images });
    await images.load(archive);
  });

  afterAll(async () => {
    if (child?.exitCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    // Of a test that failed a container may still run, and its command be busy stopping it.
    if (home !== '') await vi.waitFor(() => removeContainers(home), PATIENT);
    await rm(home, { recursive: true, force: true });
  });

  it('gives the program a terminal of our size, shows what is typed, and ends with its exit code', async () => {
    // cat ends by the interrupt, and the shell goes on: without line editing, so that nothing but echo answers typing.
    const script = 'test -t 0 && echo is a terminal; stty size; trap "echo interrupted" INT; cat; exit 7';
    const run = heptad('run', '-it', '--rm', IMAGE, 'sh', '-c', script);
    await shows(/^is a terminal\r\n30 100\r\n$/);
    type('typed line\n');
    // Once by the echo of the terminal in the container, once by cat; were ours not raw, there would be a third.
    await shows(/30 100\r\ntyped line\r\ntyped line\r\n$/);
    // Ctrl-C is a key like any other: it interrupts cat and not us.
    type('\u0003');
    await shows(/\^C(\r\n)?interrupted\r\n/);
    expect(await exitCode(run)).toBe(7);
  });

  it('without -t hands standard input on without a terminal', async () => {
    const run = heptad('run', '-i', '--rm', IMAGE, 'sh', '-c', 'test -t 0 || echo plain; head -n 1; exit 3');
    await shows(/plain/);
    type('one line\n');
    await shows(/one line\r\n/);
    expect(await exitCode(run)).toBe(3);
  });
});
