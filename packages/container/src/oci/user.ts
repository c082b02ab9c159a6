// Who a container's process is: `user[:group]` looked up in the image's own passwd and group files.

import { readFile, stat } from 'node:fs/promises';
import { ContainerError } from '../errors.ts';
import { fileInside } from '../image/layer-paths.ts';

/** Numbers for the kernel, and the home directory for HOME. */
export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly home: string;
}

// Real ones have a few KiB; one made to fill our memory must not.
const MAX_DATABASE_BYTES = 1024 * 1024;
// Linux reserves the value -1.
const MAX_ID = 4_294_967_294;

/**
 * Looks a user up in the files of a root file system that no process runs in, and makes it a member of `groupAdd`. Throws
 * `INVALID_ARGUMENT`.
 */
export async function resolveUser(
  rootfs: string,
  text: string,
  groupAdd: readonly string[] = [],
): Promise<ResolvedUser> {
  const group = await database(rootfs, '/etc/group');
  const user = lookUpUser(text, await database(rootfs, '/etc/passwd'), group);
  const groups = lines(group);
  const added = groupAdd.map((name) => groupNumber(name, groups));
  const others = [...user.additionalGids, ...added].filter((gid) => gid !== user.gid);
  return { ...user, additionalGids: [...new Set(others)] };
}

async function database(rootfs: string, path: string): Promise<string> {
  const file = await fileInside(rootfs, path);
  if (file === undefined) return '';
  const info = await stat(file);
  return info.isFile() && info.size <= MAX_DATABASE_BYTES ? await readFile(file, 'utf8') : '';
}

/** {@link resolveUser} on the text of the two files. */
export function lookUpUser(text: string, passwd: string, group: string): ResolvedUser {
  const [userPart = '', groupPart] = text.split(':', 2);
  const users = lines(passwd);
  const groups = lines(group);
  const wanted = userPart === '' ? '0' : userPart;
  const entry = users.find(([name]) => name === wanted) ?? users.find(([, , uid]) => uid === wanted);
  const uid = entry === undefined ? numeric(wanted) : numeric(entry[2]);
  if (uid === undefined) throw unknown('user', wanted);
  const name = entry?.[0];
  const primary = entry === undefined ? 0 : (numeric(entry[3]) ?? 0);
  const gid = groupPart === undefined || groupPart === '' ? primary : groupNumber(groupPart, groups);
  // As in Docker, memberships count only when the group was not chosen by hand.
  const additionalGids =
    name === undefined || groupPart
      ? []
      : groups.filter(([, , , members]) => members?.split(',').includes(name)).map(([, , id]) => numeric(id));
  return {
    uid,
    gid,
    additionalGids: [...new Set(additionalGids.filter((id) => id !== undefined && id !== gid))] as number[],
    home: entry?.[5] || '/',
  };
}

function groupNumber(wanted: string, groups: readonly string[][]): number {
  const entry = groups.find(([name]) => name === wanted);
  const gid = numeric(entry === undefined ? wanted : entry[2]);
  if (gid === undefined) throw unknown('group', wanted);
  return gid;
}

function lines(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));
}

function numeric(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= MAX_ID ? value : undefined;
}

function unknown(kind: string, name: string): ContainerError {
  return new ContainerError('INVALID_ARGUMENT', `the image has no ${kind} "${name}"`, {
    hint: `use a number, or a name from the image's /etc/${kind === 'user' ? 'passwd' : 'group'}`,
  });
}
