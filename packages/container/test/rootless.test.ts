// Rootless: an ordinary user with ranges in /etc/subuid runs containers, and is told what they lack.

import { readdirSync } from 'node:fs';
import { chmod, chown, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, runOrThrow, TOOL_PATH } from '../src/system/command.ts';
import { identify, signalProcess } from '../src/system/processes.ts';
import { noContainers, temporaryDirectory } from './support.ts';

const user = `hptest${process.pid % 100_000}`;
const REPOSITORY = join(import.meta.dirname, '../../..');
let home: string;
let uid: number;
let runtimeDirectory: string;
let port: number;

/** What the program of the user says, by key. */
async function program(step: string): Promise<Map<string, unknown>> {
  const who = ['--reuid', user, '--regid', user, '--init-groups'];
  const node = [
    process.execPath,
    '--conditions=heptad-source',
    join(import.meta.dirname, 'rootless-program.ts'),
    home,
    step,
  ];
  const env = {
    HOME: home,
    PATH: TOOL_PATH,
    TMPDIR: home,
    XDG_RUNTIME_DIR: runtimeDirectory,
    TEST_PORT: String(port),
  };
  const { exitCode, stdout, stderr } = await run('setpriv', [...who, ...node], {
    env,
    cwd: home,
    timeoutMs: 110_000,
  });
  expect(stderr.replace(/^\(.*\n|.*Warning.*\n/gm, '')).toBe('');
  expect(exitCode).toBe(0);
  return new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  );
}

async function withoutUser(path: string): Promise<void> {
  const text = await readFile(path, 'utf8');
  await writeFile(
    path,
    text
      .split('\n')
      .filter((line) => !line.startsWith(`${user}:`))
      .join('\n'),
  );
}

/** Whether an ordinary user can read the sources that the program is started from. */
async function sourcesReadable(): Promise<boolean> {
  const { exitCode } = await run('setpriv', [
    '--reuid',
    '65534',
    '--regid',
    '65534',
    '--clear-groups',
    'test',
    '-r',
    join(REPOSITORY, 'packages/container/src/index.ts'),
  ]);
  return exitCode === 0;
}
const unreadable = !(await sourcesReadable());

describe.skipIf(noContainers !== undefined || unreadable)('an ordinary user', () => {
  beforeAll(async () => {
    home = await temporaryDirectory();
    await runOrThrow('useradd', ['--no-create-home', '--home-dir', home, user]);
    uid = Number((await runOrThrow('id', ['-u', user])).trim());
    // useradd may have given ranges itself; these are ours in any case.
    for (const path of ['/etc/subuid', '/etc/subgid']) {
      await withoutUser(path);
      await runOrThrow('sh', ['-c', 'echo "$1:2000000000:65536" >> "$2"', 'sh', user, path]);
    }
    runtimeDirectory = join(home, 'run');
    await mkdir(runtimeDirectory);
    for (const path of [home, runtimeDirectory]) {
      await chown(path, uid, uid);
      await chmod(path, 0o700);
    }
    const listener = createServer();
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    port = (listener.address() as AddressInfo).port;
    await new Promise((resolve) => listener.close(resolve));
  });

  afterAll(async () => {
    // The holder, and with it whatever a failed test left in its namespaces.
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
      const owner = Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]);
      const target =
        owner === uid || (owner >= 2_000_000_000 && owner < 2_000_065_536)
          ? identify(Number(pid))
          : undefined;
      if (target !== undefined) signalProcess(target, 9);
    }
    await run('userdel', [user]);
    for (const path of ['/etc/subuid', '/etc/subgid']) await withoutUser(path);
    await rm(home, { recursive: true, force: true });
  });

  it('runs containers in a user namespace, published by slirp4netns, and is told what is missing', async () => {
    const said = await program('first');
    expect(said.get('inside')).toEqual([0, true]);
    expect(said.get('once')).toEqual([0, '0 1 1000 true']);
    expect(said.get('served')).toBe('hello from 1000');
    expect(said.get('limits')).toEqual([false, false]);
    expect(String(said.get('reasons'))).toMatch(/no limits.*no bridge networks/s);
    expect(said.get('exec timeout')).toBe('TIMEOUT');
    for (const key of ['limit', 'pause', 'stats', 'network'])
      expect([key, said.get(key)]).toEqual([key, 'NOT_SUPPORTED']);
    expect(said.get('port')).toBe('PORT_IN_USE');
    expect(said.get('left')).toEqual([['server', true]]);
  });

  it('finds them again with the next program; outside they are processes of the user', async () => {
    expect(await (await fetch(`http://127.0.0.1:${port}`)).text()).toBe('hello from 1000');
    const said = await program('second');
    expect(said.get('adopted')).toBe('running');
    expect(said.get('exec')).toEqual([0, '1000hush']);
    expect(said.get('again')).toBe('running');
    await expect(fetch(`http://127.0.0.1:${port}`)).rejects.toThrow();
    // Dead ones wait until the machine's own init looks after them.
    const left = (await run('ps', ['-u', user, '-o', 'args='])).stdout.replace(/.*<defunct>\n/g, '');
    expect(left).not.toMatch(/slirp4netns|conmon|runc/);
  });

  it('says what an ordinary user without ranges has to do', async () => {
    await withoutUser('/etc/subuid');
    const who = ['--reuid', user, '--regid', user, '--init-groups'];
    const node = [
      process.execPath,
      '--conditions=heptad-source',
      join(import.meta.dirname, 'rootless-program.ts'),
      home,
      'first',
    ];
    const env = { HOME: home, PATH: TOOL_PATH, XDG_RUNTIME_DIR: join(home, 'elsewhere') };
    await mkdir(join(home, 'elsewhere'), { mode: 0o700 });
    await chown(join(home, 'elsewhere'), uid, uid);
    const { exitCode, stderr } = await run('setpriv', [...who, ...node], {
      env,
      cwd: home,
      timeoutMs: 60_000,
    });
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/RUNTIME_UNAVAILABLE|subuid/);
    expect(stderr).toContain('/etc/subuid gives user');
  });
});
