import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  identify,
  isAlive,
  type ProcessIdentity,
  readPidFile,
  removePidFile,
  writePidFile,
} from './process-identity.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'heptad-identity-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function own(): ProcessIdentity {
  const identity = identify(process.pid);
  if (identity === undefined) throw new Error('this process has no identity');
  return identity;
}

describe('an identity', () => {
  it('is of exactly one process: another start time or another boot is another process', () => {
    expect(isAlive(own())).toBe(true);
    expect(isAlive({ ...own(), startTicks: '1' })).toBe(false);
    expect(isAlive({ ...own(), bootId: 'another' })).toBe(false);
  });

  it('ends with the process, also while nobody has collected it', async () => {
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    const identity = identify(child.pid ?? 0);
    expect(identity !== undefined && isAlive(identity)).toBe(true);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(identity !== undefined && isAlive(identity)).toBe(false);
    expect(identify(child.pid ?? 0)).toBeUndefined();
  });

  it('takes a zombie for ended', async () => {
    // The shell becomes a sleep that never asks for its child: the child stays a zombie until the sleep goes.
    const parent = spawn('sh', ['-c', 'true & echo $!; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      const [line] = await once(parent.stdout, 'data');
      const zombie = Number(String(line).trim());
      await expect.poll(() => identify(zombie), { timeout: 10_000 }).toBeUndefined();
    } finally {
      parent.kill('SIGKILL');
    }
  });
});

describe('a pid file', () => {
  it('names the process that runs, and leaves nothing beside it', async () => {
    const path = join(directory, 'run', 'server.pid');
    await writePidFile(path, own());
    expect(await readPidFile(path)).toEqual(own());
    expect(await readdir(join(directory, 'run'))).toEqual(['server.pid']);
    await removePidFile(path);
    await removePidFile(path);
    expect(await readPidFile(path)).toBeUndefined();
  });

  it.each([
    ['nothing', ''],
    ['half of it', '{"pid":1'],
    ['a number', '17'],
    ['a process that is gone', JSON.stringify({ pid: 1, startTicks: '1', bootId: 'x' })],
    ['a pid that means a group', JSON.stringify({ pid: -1, startTicks: '1', bootId: 'x' })],
    ['a pid that is a word', JSON.stringify({ pid: 'self', startTicks: '1', bootId: 'x' })],
  ])('with %s in it names nobody', async (_what, text) => {
    const path = join(directory, 'x.pid');
    await writeFile(path, text);
    expect(await readPidFile(path)).toBeUndefined();
  });
});
