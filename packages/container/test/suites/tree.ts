// Changes to a directory tree as data, and what a tree holds as text, for comparing one with another.

import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';

/** One change to the tree at `root`. */
export type Change = (root: string) => Promise<void>;

export const file =
  (path: string, content: string, mode = 0o644): Change =>
  async (root) => {
    await writeFile(join(root, path), content);
    await chmod(join(root, path), mode);
  };
export const directory =
  (path: string, mode = 0o755): Change =>
  async (root) => {
    await mkdir(join(root, path));
    await chmod(join(root, path), mode);
  };
export const remove =
  (path: string): Change =>
  (root) =>
    rm(join(root, path), { recursive: true });
export const owner =
  (path: string, uid: number, gid: number): Change =>
  (root) =>
    chown(join(root, path), uid, gid);
export const move =
  (from: string, to: string): Change =>
  (root) =>
    rename(join(root, from), join(root, to));
export const hardLink =
  (from: string, to: string): Change =>
  (root) =>
    link(join(root, from), join(root, to));
export const softLink =
  (target: string, path: string): Change =>
  (root) =>
    symlink(target, join(root, path));

/** Makes changes in order. */
export async function apply(changes: readonly Change[], root: string): Promise<void> {
  for (const change of changes) await change(root);
}

/** Every entry below `root`: path, kind, mode, owner and content. */
export async function describeTree(root: string, at = ''): Promise<string[]> {
  const lines: string[] = [];
  for (const name of (await readdir(join(root, at))).sort()) {
    const path = join(at, name);
    const info = await lstat(join(root, path));
    const facts = `${path} ${(info.mode & 0o7777).toString(8)} ${info.uid}:${info.gid}`;
    if (info.isDirectory()) lines.push(`${facts} dir`, ...(await describeTree(root, path)));
    else if (info.isSymbolicLink()) lines.push(`${facts} -> ${await readlink(join(root, path))}`);
    else lines.push(`${facts} ${await readFile(join(root, path), 'utf8')}`);
  }
  return lines;
}
