import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KernelMutex, lockName, tryKernelLock } from './kernel-lock.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'heptad-lock-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

/** Another process that holds the lock until it is killed. */
async function holder(name: string): Promise<() => void> {
  const code = `require('net').createServer(() => {}).listen({ path: '\\0${name}' }, () => console.log('held'))`;
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return () => child.kill('SIGKILL');
}

describe('locks between processes', () => {
  it('one holder at a time, and free again after release', async () => {
    const name = await lockName(directory, 'a');
    const lock = await tryKernelLock(name);
    expect(await tryKernelLock(name)).toBeUndefined();
    await lock?.release();
    const next = await tryKernelLock(name);
    expect(next).toBeDefined();
    await next?.release();
  });

  it('sections exclude each other and run in order', async () => {
    const name = await lockName(directory, 'a');
    const [one, other] = [new KernelMutex(name), new KernelMutex(name)];
    const seen: string[] = [];
    const section = (label: string) => async (): Promise<void> => {
      seen.push(`${label} in`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      seen.push(`${label} out`);
    };
    await Promise.all([one.run(section('a')), one.run(section('b')), other.run(section('c'))]);
    for (let index = 0; index < seen.length; index += 2)
      expect(seen[index + 1]).toBe(seen[index]?.replace('in', 'out'));
    expect(seen).toHaveLength(6);
  });

  it('a holder that is killed frees it, and who waits goes on', async () => {
    const name = await lockName(directory, 'a');
    const kill = await holder(name);
    let ran = false;
    const waiting = new KernelMutex(name).run(async () => {
      ran = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(ran).toBe(false);
    kill();
    await waiting;
    expect(ran).toBe(true);
  });
});
