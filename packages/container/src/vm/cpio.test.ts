import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { cpioArchive } from './cpio.ts';

describe('cpioArchive', () => {
  const entries = [
    { path: 'init', mode: 0o755, data: Buffer.from('#!/bin/true\n') },
    { path: 'lib/deep/odd', mode: 0o644, data: Buffer.from('abcde') },
    { path: 'empty', mode: 0o700 },
  ];

  it('is unpacked by cpio to the same files, with the directories above them', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'cpio-'));
    const archive = join(directory, 'a.cpio');
    await writeFile(archive, cpioArchive(entries));
    await promisify(execFile)('sh', ['-c', 'cpio -id --quiet --no-absolute-filenames < a.cpio'], {
      cwd: directory,
    });
    expect(await readFile(join(directory, 'lib/deep/odd'), 'utf8')).toBe('abcde');
    expect((await stat(join(directory, 'init'))).mode & 0o777).toBe(0o755);
    expect((await stat(join(directory, 'empty'))).isDirectory()).toBe(true);
    await rm(directory, { recursive: true });
  });

  it('gives the same bytes for the same input, in whole blocks', () => {
    expect(cpioArchive(entries).equals(cpioArchive(entries))).toBe(true);
    expect(cpioArchive(entries).length % 512).toBe(0);
  });
});
