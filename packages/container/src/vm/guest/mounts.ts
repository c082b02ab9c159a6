// The guest agent, part 2: what the program sees as its machine: root, devices, files, network. Perl.

/** Runs partly in the agent (disk, network, limits), partly in the program's own mount namespace. */
export const GUEST_MOUNTS: string = String.raw`
my $ROOT = '/newroot';
my $GROUP = '/sys/fs/cgroup/heptad';

sub setup_machine { my (@fields) = @_;
  mkdir($ROOT, 0755);
  # The tables of a fresh file system are all holes: writing zeros over them would only fill the overlay.
  mount('/dev/vda', $ROOT, 'ext4', 0, 'noinit_itable,discard') unless -d "$ROOT/lost+found";
  my $hostname = one_of('hostname', @fields) // 'vm';
  must('set the host name', 'sethostname', "$hostname", length($hostname));
  mount('cgroup2', '/sys/fs/cgroup', 'cgroup2', $MS_NOSUID | $MS_NODEV | $MS_NOEXEC);
  spew('/sys/fs/cgroup/cgroup.subtree_control', '+cpu +memory +pids +io');
  mkdir($GROUP, 0755);
  spew("$GROUP/cgroup.subtree_control", '+cpu +memory +pids +io');
  set_limits(@fields);
  mkdir('/files', 0700);
  mount('heptad', '/files', 'tmpfs', $MS_NOSUID | $MS_NODEV, 'mode=0711,size=64m');
  identity_files(@fields);
  network(@fields);
  for my $setting (all_of('sysctl', @fields)) { my ($name, $value) = split(/=/, $setting, 2);
    (my $path = $name) =~ tr{.}{/}; spew("/proc/sys/$path", $value); }
}

sub identity_files { my (@fields) = @_;
  for my $name ('hosts', 'resolv.conf', 'hostname') {
    my $text = one_of($name, @fields); spew("/files/$name", $text) if defined $text; } }

sub set_limits { my (@fields) = @_;
  for my $name ('memory.max', 'memory.swap.max', 'pids.max', 'cpu.max', 'cpu.weight') {
    my $value = one_of($name, @fields); next unless defined $value && -e "$GROUP/$name"; spew("$GROUP/$name", $value); } }

# Interface requests of netdevice(7): the name in 16 bytes, then a union of 24.
sub network { my (@fields) = @_;
  socket(my $socket, 2, 2, 0) or die "socket: $!\n";
  my $up = sub { my ($name) = @_; my $request = pack('a16 s x22', $name, 0x1 | 0x40);
    ioctl($socket, 0x8914, $request) or die "bring $name up: $!\n"; };
  my $address = sub { my ($order, $name, $ip) = @_;
    my $request = pack('a16 S n C4 x16', $name, 2, 0, split(/\./, $ip)); ioctl($socket, $order, $request) or die "give $name $ip: $!\n"; };
  $up->('lo');
  my $ip = one_of('address', @fields); return unless defined $ip;
  $address->(0x8916, 'eth0', $ip);
  $address->(0x891c, 'eth0', one_of('netmask', @fields));
  $up->('eth0');
  my $gateway = one_of('gateway', @fields); return unless defined $gateway;
  my $in = sub { return pack('S n C4 x8', 2, 0, split(/\./, $_[0])); };
  # struct rtentry: an unused long, destination, gateway, mask, then flags (up, gateway) and the rest zero.
  my $route = pack('x8 a16 a16 a16 S x70', $in->('0.0.0.0'), $in->($gateway), $in->('0.0.0.0'), 0x1 | 0x2);
  ioctl($socket, 0x890b, $route) or die "route by $gateway: $!\n";
}

# In the program's own mount namespace, before it becomes the program. Paths are those inside the new root.
sub enter_root { my ($terminal, @fields) = @_;
  must('unshare', 'unshare', 0x00020000 | 0x02000000);
  mount('none', '/', '', $MS_REC | $MS_PRIVATE);
  make_path("$ROOT/$_") for 'proc', 'sys', 'dev';
  mount('proc', "$ROOT/proc", 'proc', $MS_NOSUID | $MS_NODEV | $MS_NOEXEC);
  protect("$ROOT/proc/$_") for 'sys', 'sysrq-trigger', 'irq', 'bus', 'fs';
  hide("$ROOT/proc/$_") for 'kcore', 'keys', 'timer_list', 'sched_debug', 'acpi', 'scsi', 'kmsg', 'kallsyms', 'kpageflags';
  mount('sysfs', "$ROOT/sys", 'sysfs', $MS_NOSUID | $MS_NODEV | $MS_NOEXEC | $MS_RDONLY);
  hide("$ROOT/sys/$_") for 'firmware', 'kernel/debug';
  mount($GROUP, "$ROOT/sys/fs/cgroup", '', $MS_BIND); read_only("$ROOT/sys/fs/cgroup");
  devices(one_of('shm', @fields));
  if (defined $terminal) { make_file("$ROOT/dev/console"); mount($terminal, "$ROOT/dev/console", '', $MS_BIND); }
  for my $entry (all_of('tmpfs', @fields)) { my ($target, $options) = split(/\0/, $entry);
    mount('tmpfs', directory_inside($target), 'tmpfs', $MS_NOSUID | $MS_NODEV, $options); }
  for my $entry (all_of('share', @fields)) { my ($tag, $target, $mode) = split(/\0/, $entry);
    mount($tag, directory_inside($target), 'virtiofs', $MS_NOSUID | $MS_NODEV | ($mode eq 'ro' ? $MS_RDONLY : 0)); }
  for my $name ('hosts', 'resolv.conf', 'hostname') { bind_file("/files/$name", "/etc/$name") if -e "/files/$name"; }
  for my $entry (all_of('bind', @fields)) { my ($name, $target) = split(/\0/, $entry); bind_file("/files/$name", $target); }
  read_only($ROOT) if one_of('readonly', @fields);
  chdir($ROOT) or die "enter the root: $!\n";
  mount('.', '/', '', $MS_MOVE);
  chroot('.') or die "change root: $!\n";
  chdir('/');
}

# Where a path leads inside the new root: a link of the image must not lead out of it.
sub inside { my ($target) = @_; my (@path, $links); my @left = split(m{/}, $target);
  while (@left) { my $part = shift @left; next if $part eq '' || $part eq '.';
    if ($part eq '..') { pop @path; next; }
    my $to = readlink(join('/', $ROOT, @path, $part));
    if (!defined $to) { push @path, $part; next; }
    die "$target: too many symbolic links\n" if ++$links > 40;
    @path = () if $to =~ m{^/}; unshift @left, split(m{/}, $to); }
  return join('/', $ROOT, @path); }
sub directory_inside { my $path = inside($_[0]); make_path($path); return $path; }
sub bind_file { my ($file, $target) = @_; my $path = inside($target); make_file($path);
  mount($file, $path, '', $MS_BIND); read_only($path); }
sub read_only { my ($path) = @_; mount('none', $path, '', $MS_REMOUNT | $MS_BIND | $MS_RDONLY); }
sub protect { my ($path) = @_; return unless -e $path; mount($path, $path, '', $MS_BIND | $MS_REC); read_only($path); }
sub hide { my ($path) = @_; return unless -e $path;
  if (-d $path) { mount('tmpfs', $path, 'tmpfs', $MS_RDONLY, 'size=0'); } else { mount('/dev/null', $path, '', $MS_BIND); } }

sub devices { my ($shm) = @_; my $dev = "$ROOT/dev";
  mount('tmpfs', $dev, 'tmpfs', $MS_NOSUID, 'mode=755,size=64k');
  for my $node (['null', 1, 3], ['zero', 1, 5], ['full', 1, 7], ['random', 1, 8], ['urandom', 1, 9], ['tty', 5, 0]) {
    my ($name, $major, $minor) = @$node;
    must("make $name", 'mknod', "$dev/$name", 020666, ($major << 8) | $minor); chmod(0666, "$dev/$name"); }
  mkdir("$dev/$_", 0755) for 'pts', 'shm', 'mqueue';
  mount('devpts', "$dev/pts", 'devpts', $MS_NOSUID | $MS_NOEXEC, 'newinstance,ptmxmode=0666,mode=0620,gid=5');
  mount('shm', "$dev/shm", 'tmpfs', $MS_NOSUID | $MS_NODEV | $MS_NOEXEC, 'mode=1777,size=' . ($shm // '64m'));
  symlink('pts/ptmx', "$dev/ptmx"); symlink('/proc/self/fd', "$dev/fd");
  symlink("/proc/self/fd/$_->[0]", "$dev/$_->[1]") for [0, 'stdin'], [1, 'stdout'], [2, 'stderr'];
}
`;
