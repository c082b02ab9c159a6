// What a dynamically linked program of this machine needs to run elsewhere: its loader and all its libraries.

import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ContainerError } from '../errors.ts';
import { run } from '../system/command.ts';

// glibc loads these by name when a program looks up users or hosts; no program's own list mentions them.
const NAME_SERVICE_LIBRARIES = ['libnss_files.so.2', 'libnss_dns.so.2', 'libresolv.so.2'];

/** Absolute paths of the loader and libraries of `program`; [] for a static one. Throws `BUILD_FAILED`. */
export async function sharedLibraries(program: string): Promise<string[]> {
  const { stdout, stderr, exitCode } = await run('ldd', [program]);
  if (/not a dynamic executable|statically linked/.test(stdout + stderr)) return [];
  if (exitCode !== 0) {
    throw new ContainerError(
      'BUILD_FAILED',
      `cannot find the libraries of ${program}: ${(stderr || stdout).trim()}`,
    );
  }
  const libraries = parseLdd(stdout, program);
  const libc = libraries.find((path) => /\/libc\.so\.\d+$/.test(path));
  if (libc === undefined) return libraries;
  for (const name of NAME_SERVICE_LIBRARIES) {
    const path = join(dirname(libc), name);
    if (await exists(path)) libraries.push(path);
  }
  return libraries;
}

/** Paths in the output of ldd. Throws `BUILD_FAILED` naming a library that is not on this machine. */
export function parseLdd(output: string, program: string): string[] {
  const missing = /^\s*(\S+) => not found/m.exec(output)?.[1];
  if (missing !== undefined) {
    throw new ContainerError('BUILD_FAILED', `${program} needs ${missing}, which is not on this machine`, {
      hint: 'install the package that holds this library',
    });
  }
  const paths = output.split('\n').map((line) => /(?:=>\s*)?(\/\S+)\s+\(0x[0-9a-f]+\)/.exec(line)?.[1]);
  return [...new Set(paths.filter((path) => path !== undefined))];
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
