// What the platform refuses to do, and how it says so: damaged state, a taken port, a full disk, a second start.

import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { footprint } from './support/machine.ts';
import { ROOT, type TestPlace, testPlace } from './support/platform.ts';

let place: TestPlace;

beforeEach(async () => {
  place = await testPlace();
});

afterEach(async () => {
  await run(['down']);
  await place[Symbol.asyncDispose]();
});

/** Runs the CLI from source, so that this file needs no build. */
function run(
  words: readonly string[],
  environment: Record<string, string> = {},
): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(
      process.execPath,
      ['--conditions=heptad-source', join(ROOT, 'apps/platform/src/cli/main.ts'), ...words],
      {
        cwd: ROOT,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...place.environment, ...environment },
      },
    );
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    child.stderr.on('data', (chunk) => {
      output += chunk;
    });
    child.on('close', (code) => resolve({ code: code ?? 128, output }));
  });
}

const hash = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

describe('up', () => {
  it('refuses a damaged state file, names it and how to restore it, and touches nothing', async () => {
    expect((await run(['up', '--detach'])).code).toBe(0);
    expect((await run(['down'])).code).toBe(0);
    const state = join(place.home, 'state', 'state.db');
    const file = await open(state, 'r+');
    await file.write(Buffer.alloc(512, 0xff), 0, 512, 0);
    await file.close();
    const before = hash(state);
    const { code, output } = await run(['up', '--detach']);
    expect(code).toBe(1);
    expect(output).toContain(state);
    expect(output).toMatch(/restore/i);
    expect(hash(state)).toBe(before);
    expect(footprint(place.home, place.bridge).processes).toEqual([]);
  });

  it('refuses a port that another program has, naming it', async () => {
    const port = Number(new URL(place.server).port);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve));
    const { code, output } = await run(['up', '--detach']);
    await new Promise((resolve) => other.close(resolve));
    expect(code).toBe(1);
    expect(output).toContain(`127.0.0.1:${port}`);
    expect(output).toContain('hint');
  });

  it('refuses to start twice with one home', async () => {
    const first = spawn(
      process.execPath,
      ['--conditions=heptad-source', join(ROOT, 'apps/platform/src/cli/main.ts'), 'up'],
      {
        cwd: ROOT,
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...process.env, ...place.environment },
      },
    );
    const ended = new Promise<number | null>((resolve) => first.once('exit', resolve));
    await new Promise<void>((resolve, reject) => {
      let text = '';
      first.stderr.on('data', (chunk) => {
        text += chunk;
        if (text.includes('following events')) resolve();
      });
      void ended.then(() => reject(new Error(text)));
    });
    const second = await run(['up', '--detach']);
    expect(second.code).toBe(1);
    expect(second.output).toContain('already running');
    first.kill('SIGINT');
    expect(await ended).toBe(0);
  });

  it('says on a full disk what is full, and leaves no process behind', async () => {
    const small = join(place.home, 'small');
    await mkdir(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]);
    try {
      const { code, output } = await run(['up', '--detach'], { HEPTAD_HOME: small });
      expect(code).toBe(1);
      expect(output).toMatch(/ENOSPC|no space|disk|full/i);
      expect(footprint(small, place.bridge).processes).toEqual([]);
    } finally {
      execFileSync('umount', [small]);
    }
  });
});

describe('the CLI without a platform', () => {
  it('says that nothing answers and how to start it', async () => {
    const { code, output } = await run(['ps']);
    expect(code).toBe(1);
    expect(output).toContain('heptad up');
  });
});
