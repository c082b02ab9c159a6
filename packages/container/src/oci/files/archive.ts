// Files of a container as a tar stream, by the machine's tar, which opens every directory from its parent's handle.

import { spawn } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { ContainerError } from '../../errors.ts';
import { TOOL_PATH } from '../../system/command.ts';

// What tar says about files that change while they are read; the reader gets them as they were at some moment.
const CHANGED = 1;
const MAX_COMPLAINT_BYTES = 4096;

/**
 * Starts to archive `names` of an open directory. GNU tar opens with O_NOFOLLOW, directories by openat from the one
 * above, so nothing a container does meanwhile leads it out. The stream may be read when the directory is closed.
 */
export function archive(
  directory: FileHandle,
  names: readonly string[],
  options: { signal?: AbortSignal | undefined; oneFileSystem?: boolean } = {},
): AsyncIterable<Uint8Array> {
  const child = spawn(
    'tar',
    [
      '--create',
      '--format=pax',
      '--numeric-owner',
      '--xattrs',
      '--xattrs-include=*',
      // Names with the time of access and of change would make every archive different.
      '--pax-option=delete=atime,delete=ctime',
      '--ignore-failed-read',
      ...(options.oneFileSystem === true ? ['--one-file-system'] : []),
      '--file=-',
      '--no-unquote',
      '--',
      ...names,
    ],
    {
      cwd: `/proc/${process.pid}/fd/${directory.fd}`,
      env: { PATH: TOOL_PATH, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const left = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  left.catch(() => undefined);
  // Read from now on: what nobody reads when a child ends, Node throws away.
  const content = child.stdout.pipe(new PassThrough());
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    if (complaint.length < MAX_COMPLAINT_BYTES) complaint += chunk.toString();
  });
  const kill = (): boolean => child.kill('SIGKILL');
  options.signal?.addEventListener('abort', kill, { once: true });
  return (async function* () {
    try {
      for await (const chunk of content) if (chunk instanceof Uint8Array) yield chunk;
      const code = await left;
      options.signal?.throwIfAborted();
      if (code === 0 || code === CHANGED) return;
      throw new ContainerError('COMMAND_FAILED', `cannot archive ${names.join(', ')}: ${complaint.trim()}`);
    } finally {
      options.signal?.removeEventListener('abort', kill);
      kill();
    }
  })();
}
