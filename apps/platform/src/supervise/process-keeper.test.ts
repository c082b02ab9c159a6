import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { identify, isAlive, readPidFile } from './process-identity.ts';
import { type KeptProcess, ProcessKeeper } from './process-keeper.ts';

const SLOW_MACHINE_MS = 20_000;
const GRACE = { graceMs: 5_000 };

let directory: string;
let messages: string[];
const opened: ProcessKeeper[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'heptad-keeper-'));
  messages = [];
});
afterEach(async () => {
  for (const keeper of opened.splice(0)) await keeper.stop({ graceMs: 0 });
  await rm(directory, { recursive: true, force: true });
});

function keeperOf(script: string, more: Partial<KeptProcess> = {}): ProcessKeeper {
  const keeper = new ProcessKeeper(
    {
      name: 'worker',
      command: 'sh',
      args: ['-c', script],
      environment: { GREETING: 'hello' },
      logFile: join(directory, 'logs', 'worker.log'),
      pidFile: join(directory, 'run', 'worker.pid'),
      ...more,
    },
    { onEvent: (message) => messages.push(message) },
  );
  opened.push(keeper);
  return keeper;
}

const log = (): Promise<string> => readFile(join(directory, 'logs', 'worker.log'), 'utf8').catch(() => '');
const until = <T>(look: () => T) => expect.poll(look, { timeout: SLOW_MACHINE_MS, interval: 20 });
const FOREVER = 'exec sleep 600';

describe('a kept process', () => {
  it('runs with its environment and writes its log', async () => {
    const keeper = keeperOf('echo "$GREETING world"; echo trouble >&2; exec sleep 600');
    await keeper.start();
    await until(log).toBe('hello world\ntrouble\n');
    expect((await readPidFile(join(directory, 'run', 'worker.pid')))?.pid).toBe(keeper.pid);
  });

  it('is started again after SIGKILL, with another pid, and says so', async () => {
    const keeper = keeperOf(FOREVER);
    await keeper.start();
    const first = keeper.pid ?? 0;
    process.kill(first, 'SIGKILL');
    await until(() => keeper.pid !== undefined && keeper.pid !== first).toBe(true);
    expect(keeper.restarts).toBe(1);
    expect(messages[0]).toContain('worker was killed by SIGKILL; starting it again in 100 ms');
    await until(async () => (await readPidFile(join(directory, 'run', 'worker.pid')))?.pid).toBe(keeper.pid);
  });

  it('waits longer before each start while it keeps ending', async () => {
    const keeper = keeperOf('exit 3');
    await keeper.start();
    await until(() => messages.length >= 4).toBe(true);
    await keeper.stop(GRACE);
    const waits = messages.map((message) => Number(/again in (\d+) ms/.exec(message)?.[1]));
    expect(waits.slice(0, 4)).toEqual([100, 200, 400, 800]);
    expect(messages[0]).toContain('worker exited with code 3');
  });

  it('is tried again when its program is not there', async () => {
    const keeper = keeperOf('', { command: join(directory, 'no-such-program') });
    await keeper.start();
    await until(() => messages.length >= 2).toBe(true);
    expect(messages[0]).toContain('ENOENT');
    expect(keeper.pid).toBeUndefined();
    await keeper.stop(GRACE);
  });

  it('is tried again when its log cannot be opened for a while', async () => {
    const keeper = keeperOf(FOREVER);
    await keeper.start();
    const first = keeper.pid ?? 0;
    await rm(join(directory, 'logs'), { recursive: true });
    await writeFile(join(directory, 'logs'), 'a file where a folder should be');
    process.kill(first, 'SIGKILL');
    await until(() => messages.some((message) => message.includes('could not be started'))).toBe(true);
    await rm(join(directory, 'logs'));
    await until(() => keeper.pid !== undefined).toBe(true);
  });

  it('is kept although its pid file cannot be written', async () => {
    await mkdir(join(directory, 'run', 'worker.pid', 'in-the-way'), { recursive: true });
    const keeper = keeperOf(FOREVER);
    await keeper.start();
    expect(keeper.pid).toBeDefined();
    expect(messages[0]).toContain('cannot write');
    const pid = keeper.pid ?? 0;
    await rm(join(directory, 'run', 'worker.pid'), { recursive: true });
    await keeper.stop(GRACE);
    expect(identify(pid)).toBeUndefined();
  });

  it('has its log moved away when it has grown too large', async () => {
    await mkdir(join(directory, 'logs'));
    await writeFile(join(directory, 'logs', 'worker.log'), Buffer.alloc(10 * 1024 * 1024 + 1, 'x'));
    const keeper = keeperOf('echo fresh; exec sleep 600');
    await keeper.start();
    await until(log).toBe('fresh\n');
    expect((await readFile(join(directory, 'logs', 'worker.log.1'))).length).toBe(10 * 1024 * 1024 + 1);
  });
});

describe('adoption', () => {
  it('takes over the process that a keeper left, and keeps it from then on', async () => {
    const first = keeperOf(FOREVER);
    await first.start();
    const pid = first.pid ?? 0;
    first.leave();
    const second = keeperOf(FOREVER);
    await second.start();
    expect(second.pid).toBe(pid);
    expect(messages).toEqual([`worker is still running (pid ${pid}); adopted`]);

    process.kill(pid, 'SIGKILL');
    await until(() => second.pid !== undefined && second.pid !== pid).toBe(true);
    expect(second.restarts).toBe(1);
    expect(first.restarts).toBe(0);
  });

  it('never takes a process that only has the same pid', async () => {
    const stranger = identify(process.pid);
    await mkdir(join(directory, 'run'));
    await writeFile(join(directory, 'run', 'worker.pid'), JSON.stringify({ ...stranger, startTicks: '1' }));
    const keeper = keeperOf(FOREVER);
    await keeper.start();
    expect(keeper.pid).not.toBe(process.pid);
  });
});

describe('stop', () => {
  it('ends the process and removes the pid file', async () => {
    const keeper = keeperOf(FOREVER);
    await keeper.start();
    const identity = identify(keeper.pid ?? 0);
    await keeper.stop(GRACE);
    expect(identity !== undefined && isAlive(identity)).toBe(false);
    expect(keeper.pid).toBeUndefined();
    expect(keeper.restarts).toBe(0);
    expect(await readPidFile(join(directory, 'run', 'worker.pid'))).toBeUndefined();
  });

  it('kills a process that ignores SIGTERM', async () => {
    const keeper = keeperOf('trap "" TERM; echo ready; while :; do sleep 0.1; done');
    await keeper.start();
    await until(log).toBe('ready\n');
    const pid = keeper.pid ?? 0;
    await keeper.stop({ graceMs: 100 });
    expect(identify(pid)).toBeUndefined();
  });

  it('ends an adopted process', async () => {
    const first = keeperOf(FOREVER);
    await first.start();
    const pid = first.pid ?? 0;
    first.leave();
    const second = keeperOf(FOREVER);
    await second.start();
    await second.stop(GRACE);
    expect(identify(pid)).toBeUndefined();
  });

  it('ends while the process waits for its next start, before the first, and twice', async () => {
    const failing = keeperOf('exit 1');
    await failing.start();
    await until(() => messages.length >= 3).toBe(true);
    await failing.stop(GRACE);
    await failing.stop(GRACE);

    const unstarted = keeperOf(FOREVER);
    await unstarted.stop(GRACE);
    await unstarted.start();
    expect(unstarted.pid).toBeUndefined();
  });

  it('always ends, at whatever moment of a restart it comes', async () => {
    for (let round = 0; round < 10; round += 1) {
      const keeper = keeperOf(FOREVER);
      await keeper.start();
      process.kill(keeper.pid ?? 0, 'SIGKILL');
      // The restart comes after 100 ms: these rounds stop before, around and after it.
      await new Promise((resolve) => setTimeout(resolve, round * 20));
      await keeper.stop(GRACE);
      expect(keeper.pid).toBeUndefined();
    }
  });
});
