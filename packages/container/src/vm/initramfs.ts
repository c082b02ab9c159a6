// The guest's first root file system: the interpreter, the drivers and the agent. Built here, byte for byte the same each time.

import { createHash } from 'node:crypto';
import { access, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { parseLdd } from '../build/shared-libraries.ts';
import { ContainerError } from '../errors.ts';
import { run } from '../system/command.ts';
import { ensureDirectory, writeFileAtomic } from '../system/files.ts';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { GUEST_AGENT } from './guest-agent.ts';
import { type GuestKernel, readModules } from './kernel.ts';

const PERL = '/usr/bin/perl';

/** An initramfs on disk. */
export interface Initramfs {
  readonly path: string;
  /** Digest of its bytes. */
  readonly digest: string;
}

/** Builds the initramfs for `kernel` into `directory`, unless the very same is there. Throws `RUNTIME_UNAVAILABLE`. */
export async function buildInitramfs(kernel: GuestKernel, directory: string): Promise<Initramfs> {
  const archive = cpioArchive([...(await interpreter()), ...(await drivers(kernel)), agent()]);
  const digest = createHash('sha256').update(archive).digest('hex');
  const path = join(directory, `initramfs-${digest.slice(0, 32)}.cpio`);
  if (!(await exists(path))) {
    await ensureDirectory(directory);
    await writeFileAtomic(path, archive, { mode: 0o600 });
  }
  return { path, digest };
}

function agent(): CpioEntry {
  return { path: 'init', mode: 0o755, data: Buffer.from(GUEST_AGENT) };
}

async function drivers(kernel: GuestKernel): Promise<CpioEntry[]> {
  const modules = await readModules(kernel);
  const list = modules.map(({ name }) => `${name}\n`).join('');
  return [
    ...modules.map(({ name, data }) => ({ path: `modules/${name}`, mode: 0o644, data })),
    { path: 'modules.list', mode: 0o644, data: Buffer.from(list) },
    ...['proc', 'sys', 'dev', 'newroot'].map((path) => ({ path, mode: 0o755 })),
  ];
}

/** Perl with its loader and libraries, each where its users look for it. */
async function interpreter(): Promise<CpioEntry[]> {
  if (!(await exists(PERL))) {
    throw new ContainerError(
      'RUNTIME_UNAVAILABLE',
      `cannot build the first file system of virtual machines: ${PERL} is not installed`,
      { hint: 'apt-get install perl-base' },
    );
  }
  const { stdout, exitCode } = await run('ldd', [PERL]);
  const libraries = exitCode === 0 ? parseLdd(stdout, PERL) : [];
  return await Promise.all(
    [PERL, ...libraries].map(async (path) => ({
      path: path.slice(1),
      mode: 0o755,
      data: await readFile(await realpath(path)),
    })),
  );
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
