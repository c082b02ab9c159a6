// Idmapped mounts: a directory seen with other owners than it has, for a container with a user namespace.

import type { IdMapping } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { run } from '../system/command.ts';
import { PERL } from './relays.ts';

/**
 * Mounts SOURCE at TARGET through a mapping (mount_setattr(2) with MOUNT_ATTR_IDMAP). Debian 12's mount(8) cannot, and
 * neither can Node; Perl, which every Debian has, makes any system call. The mapping is that of a user namespace, held for a
 * moment by a process that does nothing. The three numbers are the same on all architectures.
 */
const SCRIPT = `
use strict; use POSIX (); use Fcntl;
my ($source, $target, $uids, $gids) = @ARGV;
pipe(my $wait, my $hold) or die "pipe: $!\\n";
my $own = readlink('/proc/self/ns/user');
my $child = fork() // die "fork: $!\\n";
if ($child == 0) {
  close($hold);
  POSIX::dup2(fileno($wait), 0);
  exec 'unshare', '--user', 'cat' or POSIX::_exit(127);
}
close($wait);
for (my $tries = 0; ; $tries++) {
  my $theirs = readlink("/proc/$child/ns/user");
  last if defined $theirs && $theirs ne $own;
  die "cannot make a user namespace\\n" if $tries > 5000 || waitpid($child, POSIX::WNOHANG) > 0;
  select(undef, undef, undef, 0.001);
}
for (['uid_map', $uids], ['gid_map', $gids]) {
  my ($file, $text) = @$_;
  open(my $map, '>', "/proc/$child/$file") or die "$file: $!\\n";
  syswrite($map, join("\\n", split(/,/, $text)) . "\\n") or die "cannot write $file: $!\\n";
}
open(my $namespace, '<', "/proc/$child/ns/user") or die "namespace: $!\\n";
my $tree = syscall(428, -100, $source, 0x1 | 02000000);
die "open_tree $source: $!\\n" if $tree < 0;
my $attributes = pack('Q4', 0x00100000, 0, 0, fileno($namespace));
my $empty = '';
syscall(442, $tree, $empty, 0x1000, $attributes, 32) == 0 or die "mount_setattr: $!\\n";
syscall(429, $tree, $empty, -100, $target, 0x4) == 0 or die "move_mount $target: $!\\n";
close($hold);
waitpid($child, 0);
`;

/** The ids of a container with a user namespace. */
export interface IdMappings {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

/** Mounts `source` at `target` with the owners mapped. Throws `NOT_SUPPORTED` when kernel or file system cannot. */
export async function mountMapped(source: string, target: string, mappings: IdMappings): Promise<void> {
  const text = (ranges: readonly IdMapping[]): string =>
    ranges.map(({ containerId, hostId, size }) => `${containerId} ${hostId} ${size}`).join(',');
  const args = ['-e', SCRIPT, source, target, text(mappings.uids), text(mappings.gids)];
  const { exitCode, stderr } = await run(PERL, args);
  if (exitCode === 0) return;
  throw new ContainerError(
    'NOT_SUPPORTED',
    `cannot map the owners of ${source} for a user namespace: ${stderr.trim().slice(0, 500)}`,
    {
      hint: 'kernel 5.19 or newer is needed, and a file system that takes idmapped mounts (ext4, xfs, btrfs)',
      details: { driver: 'oci' },
    },
  );
}
