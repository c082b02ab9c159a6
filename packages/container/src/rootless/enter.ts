// Containers for an ordinary user: the program goes on as root of a user namespace that belongs to the user.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { constants, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { ContainerError } from '../errors.ts';
import { subordinateRanges } from '../oci/id-ranges.ts';
import { run, runOrThrow, TOOL_PATH } from '../system/command.ts';
import { identify, type ProcessIdentity } from '../system/processes.ts';

/** Set for the program inside the namespace: the user's id outside. */
const MARK = 'HEPTAD_ROOTLESS_UID';
// Fewer leave no room for the users of ordinary images.
const MIN_SUBORDINATE_IDS = 65_536;
const FORWARDED: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'];

/** Whether this process is root of a user namespace only, and not of the machine. */
export function isRootless(uidMap: string = readFileSync('/proc/self/uid_map', 'utf8')): boolean {
  // The first namespace maps every id there is onto itself.
  return !/^\s*0\s+0\s+4294967295\s*$/.test(uidMap);
}

/** How many groups, from 0 on without a gap, this process's user namespace has. */
export function mappedGroups(gidMap: string = readFileSync('/proc/self/gid_map', 'utf8')): number {
  const ranges = gidMap
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  let end = 0;
  for (const [inside = 0, , size = 0] of ranges.sort(([one = 0], [other = 0]) => one - other)) {
    if (inside <= end) end = Math.max(end, inside + size);
  }
  return end;
}

/**
 * Lets an ordinary user's program run containers: call it first. Root, and a program that is inside already, go on at
 * once. For anybody else the program is started again, with the same arguments, as root of a user namespace made with
 * newuidmap(1) and the user's ranges of /etc/subuid and /etc/subgid; this process passes signals on, and ends as it ends.
 *
 * The namespaces are held by a small process that stays, so that containers, and the next program, find them again.
 * Throws `RUNTIME_UNAVAILABLE` when something is missing, saying how to get it.
 *
 * @example
 * ```ts
 * import { enterRootless } from '@heptad/container';
 *
 * if (process.getuid?.() === 0) await enterRootless(); // root goes on; anybody else would be started again
 * console.log(process.getuid?.());
 * ```
 */
export async function enterRootless(): Promise<void> {
  if (process.getuid?.() === 0) return;
  const holder = (await findHolder()) ?? (await makeHolder());
  const enter = ['--preserve-credentials', '--user', '--mount', '--target', String(holder.pid)];
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('nsenter', [...enter, `--wd=${process.cwd()}`, '--', ...again], {
    stdio: 'inherit',
    env: { ...process.env, PATH: TOOL_PATH, [MARK]: String(process.getuid?.()) },
  });
  process.exit(await exitOf(child));
}

async function exitOf(child: ChildProcess): Promise<number> {
  const forward = (signal: NodeJS.Signals): void => {
    child.kill(signal);
  };
  for (const signal of FORWARDED) process.on(signal, forward);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.on('error', reject);
  child.on('exit', (code, signal) =>
    resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
  );
  return await promise;
}

async function holderFile(): Promise<string> {
  const uid = process.getuid?.() ?? 0;
  const runtime = process.env.XDG_RUNTIME_DIR;
  const directory =
    runtime !== undefined && existsSync(runtime) ? join(runtime, 'heptad') : join(tmpdir(), `heptad-${uid}`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const info = await stat(directory);
  if (info.uid !== uid || (info.mode & 0o077) !== 0) {
    throw new ContainerError('RUNTIME_UNAVAILABLE', `cannot use ${directory}: it is not this user's alone`, {
      hint: 'remove it, or set XDG_RUNTIME_DIR to a directory of your own',
    });
  }
  return join(directory, 'holder.json');
}

async function findHolder(): Promise<ProcessIdentity | undefined> {
  const text = await readFile(await holderFile(), 'utf8').catch(() => undefined);
  const [pid, startTime] = text?.trim().split(' ') ?? [];
  const found = pid === undefined ? undefined : identify(Number(pid));
  return found?.startTime === startTime ? found : undefined;
}

/** Makes the namespaces and the process that holds them. */
async function makeHolder(): Promise<ProcessIdentity> {
  const path = await holderFile();
  const lock = `${path}.lock`;
  // Two programs that begin at once must not make two holders: the second waits for the first, who takes under a second.
  const file = await open(lock, 'wx').catch(() => undefined);
  if (file === undefined) return await awaitHolder(lock);
  try {
    const maps = await subordinateIds();
    const child = spawn('unshare', ['--user', '--mount', 'sh', '-c', 'read go; exec sleep infinity'], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { PATH: TOOL_PATH },
    });
    const pid = await unsharedPid(child);
    await runOrThrow('newuidmap', [String(pid), ...maps.uids]);
    await runOrThrow('newgidmap', [String(pid), ...maps.gids]);
    child.stdin?.end('go\n');
    child.unref();
    const holder = identify(pid);
    if (holder === undefined) throw missing('the process that holds the user namespace ended at once');
    await writeFile(path, `${holder.pid} ${holder.startTime}\n`, { mode: 0o600 });
    return holder;
  } finally {
    await file.close();
    await rm(lock, { force: true });
  }
}

async function awaitHolder(lock: string): Promise<ProcessIdentity> {
  // A lock whose maker died leaves no holder; a new attempt of the user finds it old.
  await run('sh', [
    '-c',
    'n=0; while [ -e "$1" ] && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done',
    'sh',
    lock,
  ]);
  const found = await findHolder();
  if (found !== undefined) return found;
  await rm(lock, { force: true });
  throw missing('another program was making the user namespace, and did not finish: try again');
}

/** The child, once it has a user namespace of its own. */
async function unsharedPid(child: ChildProcess): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.on('error', reject);
  child.on('exit', () => reject(missing('this machine lets ordinary users make no user namespaces')));
  child.on('spawn', () => {
    const { pid } = child;
    if (pid === undefined) return;
    const wait =
      'while [ "$(readlink /proc/$1/ns/user)" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.01; done';
    run('sh', ['-c', wait, 'sh', String(pid)], { timeoutMs: 5_000 }).then(() => resolve(pid), reject);
  });
  const pid = await promise;
  child.removeAllListeners('exit');
  return pid;
}

/** Arguments of newuidmap and newgidmap: root is the user, the other ids are subordinate ones. */
async function subordinateIds(): Promise<{ uids: string[]; gids: string[] }> {
  const { username, uid, gid } = userInfo();
  const arguments_ = async (path: string, id: number): Promise<string[]> => {
    const text = await readFile(path, 'utf8').catch(() => '');
    const ranges = subordinateRanges(text, [username, String(uid)]);
    const range = ranges.find(({ count }) => count >= MIN_SUBORDINATE_IDS);
    if (range === undefined) {
      throw missing(
        `${path} gives user ${username} no range of ${MIN_SUBORDINATE_IDS} ids`,
        `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${username}`,
      );
    }
    return ['0', String(id), '1', '1', String(range.firstId), String(MIN_SUBORDINATE_IDS)];
  };
  for (const program of ['newuidmap', 'newgidmap']) {
    const { exitCode } = await run('sh', ['-c', 'command -v -- "$1"', 'sh', program]);
    if (exitCode !== 0) throw missing(`${program} is not installed`, 'apt-get install uidmap');
  }
  return { uids: await arguments_('/etc/subuid', uid), gids: await arguments_('/etc/subgid', gid) };
}

function missing(what: string, hint?: string): ContainerError {
  return new ContainerError('RUNTIME_UNAVAILABLE', `cannot run containers as an ordinary user: ${what}`, {
    hint: hint ?? 'run as root, or use the process runtime',
  });
}
