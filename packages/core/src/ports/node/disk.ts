// The real disk: Node's file system behind the Disk port, with errors that name the file and the way out.

import { constants, type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { HeptadError } from '../../errors.ts';
import type { Disk, DiskFile } from '../disk.ts';

const CODES: Readonly<Record<string, { code: string; hint?: string }>> = {
  ENOENT: { code: 'FILE_NOT_FOUND' },
  EEXIST: { code: 'FILE_EXISTS' },
  ENOSPC: { code: 'DISK_FULL', hint: 'free space on that disk, then try again' },
  EDQUOT: { code: 'DISK_FULL', hint: 'free space or raise the quota, then try again' },
};

/** Turns an operating system error into a {@link HeptadError} that says what was done to which path. */
function diskError(doing: string, path: string, cause: unknown): HeptadError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : 'UNKNOWN';
  const known = CODES[errno] ?? { code: 'DISK_ERROR' };
  return new HeptadError(known.code, `cannot ${doing} ${path}: ${errno}`, {
    cause,
    details: { path, errno },
    ...(known.hint === undefined ? {} : { hint: known.hint }),
  });
}

async function attempt<T>(doing: string, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw diskError(doing, path, error);
  }
}

class NodeDiskFile implements DiskFile {
  readonly #handle: FileHandle;
  readonly #path: string;

  constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    return attempt('read', this.#path, async () => {
      const buffer = new Uint8Array(length);
      let filled = 0;
      // One read may return less than was asked for, and only 0 means the end of the file.
      while (filled < length) {
        const { bytesRead } = await this.#handle.read(buffer, filled, length - filled, offset + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return buffer.subarray(0, filled);
    });
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return attempt('write', this.#path, async () => {
      let written = 0;
      while (written < data.length) {
        const { bytesWritten } = await this.#handle.write(
          data,
          written,
          data.length - written,
          offset + written,
        );
        written += bytesWritten;
      }
    });
  }

  datasync(): Promise<void> {
    return attempt('make durable', this.#path, () => this.#handle.datasync());
  }

  size(): Promise<number> {
    return attempt('measure', this.#path, async () => (await this.#handle.stat()).size);
  }

  truncate(length: number): Promise<void> {
    return attempt('truncate', this.#path, () => this.#handle.truncate(length));
  }

  close(): Promise<void> {
    return attempt('close', this.#path, () => this.#handle.close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** `write` opens for reading and writing and creates a missing file; `create-new` fails when it exists. */
const FLAGS = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR | constants.O_CREAT,
  'create-new': constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
} as const;

/**
 * The machine's file system.
 *
 * Errors: `FILE_NOT_FOUND`, `FILE_EXISTS`, `DISK_FULL`, otherwise `DISK_ERROR`; `details.errno` has the system's name.
 */
export const nodeDisk: Disk = {
  open: (path, mode) =>
    attempt('open', path, async () => new NodeDiskFile(await open(path, FLAGS[mode]), path)),
  rename: (from, to) => attempt(`rename to ${to}`, from, () => rename(from, to)),
  remove: (path) => attempt('remove', path, () => rm(path)),
  syncDirectory: (path) =>
    attempt('make durable the entries of', path, async () => {
      const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    }),
  makeDirectory: (path) =>
    attempt('create directory', path, async () => {
      await mkdir(path, { recursive: true });
    }),
  list: (path) => attempt('list', path, async () => (await readdir(path)).sort()),
  exists: async (path) => {
    try {
      await stat(path);
      return true;
    } catch (error) {
      const failure = diskError('look at', path, error);
      if (failure.code === 'FILE_NOT_FOUND') return false;
      throw failure;
    }
  },
};
