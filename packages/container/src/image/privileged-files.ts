// What Node has no call for: whiteouts, FIFOs and extended attributes, made by programs that every distribution has.

import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { run, runOrThrow } from '../system/command.ts';

/** An extended attribute to set. The path is a binary string. */
export interface WantedXattr {
  readonly path: string;
  readonly name: string;
  readonly value: Buffer;
}

/** Makes overlayfs's mark for a deleted name, a character device 0:0, at a path of plain text. */
export async function makeWhiteout(path: string): Promise<void> {
  await runOrThrow('mknod', ['--', path, 'c', '0', '0']);
}

/** Makes a FIFO at a path of plain text. */
export async function makeFifo(path: string): Promise<void> {
  await runOrThrow('mkfifo', ['-m', '600', '--', path]);
}

// Number of lsetxattr(2), which does not follow a symbolic link at the end of the path.
const LSETXATTR: Readonly<Record<string, number>> = {
  x64: 189,
  ia32: 227,
  arm: 227,
  arm64: 6,
  riscv64: 6,
  loong64: 6,
  ppc64: 210,
  s390x: 225,
};

// Path, name and value in hexadecimal, a line for each; answers how many could not be set.
const PERL = `
my ($number, $failed) = ($ARGV[0], 0);
while (my $line = <STDIN>) {
  chomp $line;
  my ($path, $name, $value) = map { pack("H*", $_) } split(/ /, $line, -1);
  $failed++ if syscall($number, $path, $name, $value, length($value), 0) != 0;
}
print "$failed\\n";
`;

/**
 * Sets attributes; returns how many could not be, because the file system or our rights do not allow them. Perl is part
 * of every Debian, Ubuntu, Fedora and SUSE; `setfattr` of the attr package is the second choice.
 */
export async function setXattrs(wanted: readonly WantedXattr[]): Promise<number> {
  if (wanted.length === 0) return 0;
  const number = LSETXATTR[process.arch];
  const byPerl = number === undefined ? undefined : await perl(number, wanted);
  return byPerl ?? (await setfattr(wanted)) ?? wanted.length;
}

async function perl(number: number, wanted: readonly WantedXattr[]): Promise<number | undefined> {
  const hex = (text: string): string => Buffer.from(text, 'latin1').toString('hex');
  const lines = wanted.map(({ path, name, value }) => `${hex(path)} ${hex(name)} ${value.toString('hex')}\n`);
  const result = await runIfInstalled('perl', ['-e', PERL, String(number)], lines.join(''));
  if (result === undefined) return undefined;
  const failed = Number.parseInt(result.stdout, 10);
  if (result.exitCode === 0 && Number.isInteger(failed)) return failed;
  throw new ContainerError(
    'COMMAND_FAILED',
    `cannot set extended attributes: ${result.stderr.slice(0, 500)}`,
  );
}

async function setfattr(wanted: readonly WantedXattr[]): Promise<number | undefined> {
  const escaped = (path: string): string =>
    path.replace(
      // Everything but printable ASCII and the backslash itself.
      /[^\x20-\x5b\x5d-\x7e]/g,
      (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`,
    );
  const dump = wanted.map(
    ({ path, name, value }) => `# file: ${escaped(path)}\n${name}=0s${value.toString('base64')}\n`,
  );
  const result = await runIfInstalled('setfattr', ['-h', '--restore=-'], dump.join('\n'));
  if (result === undefined) return undefined;
  return result.exitCode === 0 ? 0 : wanted.length;
}

async function runIfInstalled(
  program: string,
  args: readonly string[],
  input: string,
): Promise<Awaited<ReturnType<typeof run>> | undefined> {
  try {
    return await run(program, args, { input });
  } catch (error) {
    if (isHeptadError(error, 'RUNTIME_UNAVAILABLE')) return undefined;
    throw error;
  }
}
