// Unmounting that never gives up silently: several tries, then lazily, and a list of what is mounted below a directory.

import { readFile } from 'node:fs/promises';
import { run, runOrThrow } from '../system/command.ts';

/** Mount points below `directory`, deepest first, from the text of /proc/self/mountinfo. */
export function mountsBelow(mountinfo: string, directory: string): string[] {
  const prefix = `${directory.replace(/\/+$/, '')}/`;
  const points = mountinfo.split('\n').map((line) => decodeOctal(line.split(' ')[4] ?? ''));
  return points.filter((point) => point.startsWith(prefix)).sort((one, other) => other.length - one.length);
}

function decodeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Unmounts everything below `directory`. */
export async function unmountBelow(directory: string): Promise<void> {
  for (const point of mountsBelow(await readFile('/proc/self/mountinfo', 'utf8'), directory))
    await unmount(point);
}

async function unmount(point: string): Promise<void> {
  const { exitCode, stderr } = await run('umount', [point]);
  if (exitCode === 0 || /not mounted|no mount point/.test(stderr)) return;
  // Busy: somebody looks into it. Detached lazily it vanishes from the tree now and is freed with the last user.
  await runOrThrow('umount', ['--lazy', point]);
}

/** The flags of the mount that `path` is on which whoever enters a user namespace must keep: they are locked there. */
export function lockedFlags(mountinfo: string, path: string): string[] {
  let best: { point: string; options: string } | undefined;
  for (const line of mountinfo.split('\n')) {
    const fields = line.split(' ');
    const point = decodeOctal(fields[4] ?? '');
    const holds = point === '/' || path === point || path.startsWith(`${point}/`);
    // Of several mounts over one another the last one counts.
    if (fields.length > 5 && holds && point.length >= (best?.point.length ?? 0)) {
      best = { point, options: fields[5] ?? '' };
    }
  }
  const locked = ['ro', 'nosuid', 'nodev', 'noexec', 'noatime', 'nodiratime', 'relatime'];
  return (best?.options.split(',') ?? []).filter((option) => locked.includes(option));
}
