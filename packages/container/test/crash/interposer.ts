// Loaded before a scenario: every call that changes the disk passes here, is numbered, and can be recorded, torn or refused.
//
// HEPTAD_CRASH is "record FILE", "kill N" or "fail N CODE". Nothing in the package knows of this: node:fs and
// node:child_process are patched before it is imported, so no step can be forgotten.

import childProcess from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

/** One change of the disk. `data` in base64. */
export type JournalEntry =
  | { op: 'create' | 'mkdir' | 'unlink' | 'special' | 'syncPath' | 'rmdir'; path: string }
  | { op: 'symlink'; path: string; target: string }
  | { op: 'link' | 'rename'; from: string; to: string }
  | { op: 'append'; file: string; data: string }
  | { op: 'truncate'; file: string; length: number }
  | { op: 'syncFs' | 'attribute' };

const [mode, argument, code] = (process.env.HEPTAD_CRASH ?? 'record').split(' ');
const limit = Number(argument);
const root = process.env.HEPTAD_CRASH_ROOT ?? '/';
const journal: JournalEntry[] = [];
let steps = 0;
let isOff = true;

/** Begins numbering: what opens the store before is not part of the scenario. */
export function startSteps(): void {
  isOff = false;
}

/** Ends numbering, and writes the record. */
export function endSteps(): number {
  isOff = true;
  if (mode === 'record' && argument !== undefined)
    fs.writeFileSync(argument, journal.map((entry) => JSON.stringify(entry)).join('\n'));
  return steps;
}

// What a full disk still allows: taking things away, and changes in place.
const FREEING: ReadonlySet<string> = new Set([
  'unlink',
  'rmdir',
  'attribute',
  'syncPath',
  'syncFs',
  'truncate',
  'rename',
]);

/** Before a change: counts it, and at the chosen one does half of it and dies, or refuses. */
function step(entry: JournalEntry, half?: () => void): void {
  if (isOff) return;
  steps += 1;
  journal.push(entry);
  if (mode === 'kill' && steps === limit) {
    half?.();
    process.kill(process.pid, 'SIGKILL');
    // Death comes with the return to user space; nothing more may happen until then.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000);
  }
  const refuses = mode === 'fail' && steps >= limit && (code === 'EROFS' || !FREEING.has(entry.op));
  if (refuses) throw Object.assign(new Error(`${code}: refused by the test, ${entry.op}`), { code });
}

const text = (path: unknown): string => {
  const name = Buffer.isBuffer(path) ? path.toString() : String(path);
  return name.startsWith('/') ? name : join(process.cwd(), name);
};
const isOurs = (path: unknown): boolean => text(path).startsWith(root);
const base64 = (data: unknown): string =>
  (typeof data === 'string' ? Buffer.from(data) : Buffer.from(data as Uint8Array)).toString('base64');

type Any = (...args: never[]) => unknown;
type Patched = Record<string, (...args: unknown[]) => unknown>;

function patch(target: object, name: string, before: (...args: unknown[]) => void): void {
  const methods = target as Patched;
  const original = methods[name] as Any as (...args: unknown[]) => unknown;
  methods[name] = function patched(this: unknown, ...args: unknown[]): unknown {
    if (name.endsWith('Sync')) {
      before(...args);
      return original.apply(this, args);
    }
    try {
      before(...args);
    } catch (error) {
      return Promise.reject(error);
    }
    return original.apply(this, args);
  };
}

/** Patches a call and its synchronous form. */
function both(name: string, before: (...args: unknown[]) => void): void {
  patch(fs.promises, name, before);
  patch(fs, `${name}Sync`, before);
}

const attribute = (path: unknown): void => {
  if (isOurs(path)) step({ op: 'attribute' });
};
for (const name of ['chmod', 'chown', 'lchown', 'utimes', 'lutimes']) both(name, attribute);
both('rename', (from, to) => {
  if (isOurs(to)) step({ op: 'rename', from: text(from), to: text(to) });
});
both('unlink', (path) => {
  if (isOurs(path)) step({ op: 'unlink', path: text(path) });
});
both('symlink', (target, path) => {
  if (isOurs(path)) step({ op: 'symlink', path: text(path), target: String(target) });
});
both('link', (from, to) => {
  if (isOurs(to)) step({ op: 'link', from: text(from), to: text(to) });
});
both('mkdir', (path, options) => {
  if (!isOurs(path)) return;
  const missing: string[] = [];
  for (let at = text(path); !fs.existsSync(at); at = join(at, '..')) missing.unshift(at);
  if (missing.length > 1 && (options as { recursive?: boolean } | undefined)?.recursive !== true) return;
  for (const made of missing) step({ op: 'mkdir', path: made }, () => undefined);
});
{
  const { rm } = fs.promises;
  const { rmSync } = fs;
  fs.promises.rm = async (path, options) => {
    if (isOurs(path)) removeStepwise(text(path));
    if (!isOurs(path) || options?.force !== true) await rm(path, { ...options, force: isOurs(path) });
  };
  fs.rmSync = (path, options) => {
    if (isOurs(path)) removeStepwise(text(path));
    else rmSync(path, options);
  };
}
patch(fs.promises, 'writeFile', (path, data) => {
  if (typeof path !== 'string' || !isOurs(path)) return;
  if (!fs.existsSync(path)) step({ op: 'create', path });
  else step({ op: 'truncate', file: path, length: 0 });
  step({ op: 'append', file: path, data: base64(data) });
});

/** Removes a tree one name at a time, each a step of its own; rm then finds nothing. */
function removeStepwise(path: string): void {
  const info = fs.lstatSync(path, { throwIfNoEntry: false });
  if (info === undefined) return;
  if (!info.isDirectory()) {
    step({ op: 'unlink', path });
    originals.unlinkSync(path);
    return;
  }
  for (const name of fs.readdirSync(path)) removeStepwise(join(path, name));
  step({ op: 'rmdir', path });
  fs.rmdirSync(path);
}

const originals = { unlinkSync: fs.unlinkSync, openSync: fs.openSync, open: fs.promises.open };
{
  // The patched one would count twice.
  const { unlinkSync } = fs;
  originals.unlinkSync = (path) => {
    const before = isOff;
    isOff = true;
    try {
      unlinkSync(path);
    } finally {
      isOff = before;
    }
  };
}

function opened(path: unknown, flags: unknown): void {
  const creates =
    typeof flags === 'number' ? (flags & fs.constants.O_CREAT) !== 0 : /[wa]/.test(String(flags ?? 'r'));
  if (isOurs(path) && creates && !fs.existsSync(path as string)) step({ op: 'create', path: text(path) });
}

fs.promises.open = (async (path: string, flags?: string, fileMode?: number) => {
  opened(path, flags);
  const handle = await originals.open(path, flags, fileMode);
  if (!isOurs(path)) return handle;
  const file = text(path);
  const append = (data: unknown): void => {
    const bytes = Buffer.from(base64(data), 'base64');
    step({ op: 'append', file, data: base64(data) }, () =>
      fs.writeSync(handle.fd, bytes, 0, bytes.length >> 1),
    );
  };
  for (const name of ['appendFile', 'writeFile', 'write']) patch(handle, name, append);
  for (const name of ['sync', 'datasync']) patch(handle, name, () => step({ op: 'syncPath', path: file }));
  patch(handle, 'truncate', (length) => step({ op: 'truncate', file, length: Number(length ?? 0) }));
  for (const name of ['chmod', 'chown', 'utimes']) patch(handle, name, () => step({ op: 'attribute' }));
  return handle;
}) as typeof fs.promises.open;

const paths = new Map<number, string>();
fs.openSync = ((path: string, flags: number, fileMode: number) => {
  opened(path, flags);
  const fd = originals.openSync(path, flags, fileMode);
  if (isOurs(path)) paths.set(fd, text(path));
  return fd;
}) as typeof fs.openSync;
patch(fs, 'writeSync', (fd, data) => {
  const file = paths.get(Number(fd));
  if (file !== undefined) step({ op: 'append', file, data: base64(data) });
});
for (const name of ['fchmodSync', 'fchownSync', 'futimesSync'])
  patch(fs, name, (fd) => {
    if (paths.has(Number(fd))) step({ op: 'attribute' });
  });
patch(fs, 'closeSync', (fd) => {
  paths.delete(Number(fd));
});

const { spawn } = childProcess;
childProcess.spawn = ((file: string, args: string[], options: object) => {
  const last = args.at(-1) ?? '';
  if (file === 'sync') step({ op: 'syncFs' });
  else if (file === 'mkfifo') step({ op: 'special', path: last });
  else if (file === 'mknod') step({ op: 'special', path: args[1] ?? '' });
  else if (file === 'perl' || file === 'setfattr') step({ op: 'attribute' });
  return spawn(file, args, options);
}) as typeof childProcess.spawn;

syncBuiltinESMExports();
